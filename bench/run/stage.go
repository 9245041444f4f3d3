package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/verify"
)

// stage is everything of one round: a generator, a broker and the program under test, each a process of its own and made anew. So no round inherits
// a broker's indexes, a heap or a page of a log from the one before it.
type stage struct {
	dir    string // this round's files, removed at its end
	agents int

	generator *process.Process
	vendor    generator.Ready
	control   generator.Client
	trust     string // the certificate's file; empty: ws

	broker *process.Process
	nats   string
	conn   *nats.Conn
	js     jetstream.JetStream

	under   program
	program *process.Process
}

// program is a program under test, for one round.
type program interface {
	// name is short: bridge, limit, peer.
	name() string
	// stream is where its events land. made: it makes the stream itself.
	stream() (name string, made bool)
	// promises is the order that a stream must have; what is not promised is counted.
	promises() verify.Order
	// command writes the files that the program needs to s.dir and says how it is started.
	command(s *stage) (process.Command, error)
	// trouble is what the program tells of itself that may be why events are missing; empty: nothing.
	trouble(ctx context.Context) string
	// live reports whether every agent has a session that receives, and nothing is under way.
	live(ctx context.Context, s *stage) (bool, error)
}

// setStage starts everything and returns when every agent is live. The caller calls strike in any case; the stage is never nil.
func (r *runner) setStage(ctx context.Context, under program, agents int, tls bool) (s *stage, err error) {
	s = &stage{agents: agents, under: under}
	if s.dir, err = os.MkdirTemp(r.options.Dir, "bench-"); err != nil {
		return s, err
	}
	if err := s.startGenerator(ctx, r.self, tls); err != nil {
		return s, err
	}
	if err := s.startBroker(ctx, r.options.NATS); err != nil {
		return s, err
	}
	command, err := under.command(s)
	if err != nil {
		return s, err
	}
	if s.program, err = process.Start(ctx, command); err != nil {
		return s, err
	}
	return s, s.awaitLive(ctx)
}

func (s *stage) startGenerator(ctx context.Context, self string, tls bool) (err error) {
	args := []string{"generator"}
	if tls {
		s.trust = filepath.Join(s.dir, "certificate.pem")
		args = append(args, "-certificate", s.trust)
	}
	s.generator, err = process.Start(ctx, process.Command{Path: self, Args: args, Ready: func(line string) bool {
		return json.Unmarshal([]byte(line), &s.vendor) == nil && s.vendor.Control != ""
	}})
	s.control = generator.Client{Control: s.vendor.Control}
	return err
}

var listening = regexp.MustCompile(`Listening for client connections on (\S+)`)

// startBroker starts a server as it is after its installation, with JetStream; streams are in files, and synced every two minutes, its default.
func (s *stage) startBroker(ctx context.Context, path string) (err error) {
	config := filepath.Join(s.dir, "nats.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream {store_dir: %q, max_file_store: 20G}\n", filepath.Join(s.dir, "store"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	s.broker, err = process.Start(ctx, process.Command{Path: path, Args: []string{"-c", config}, Ready: func(line string) bool {
		if found := listening.FindStringSubmatch(line); found != nil {
			s.nats = "nats://" + found[1]
		}
		return s.nats != ""
	}})
	if err != nil {
		return err
	}
	if s.conn, err = nats.Connect(s.nats, nats.Name("bench")); err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return err
	}
	name, made := s.under.stream()
	if made {
		return nil
	}
	// As the bridge makes its own.
	_, err = s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, Retention: jetstream.LimitsPolicy,
		Replicas: 1, MaxAge: 7 * 24 * time.Hour, MaxBytes: -1, Duplicates: 2 * time.Minute,
	})
	return err
}

// patience bounds how long a stage without progress is waited for.
const patience = 30 * time.Second

// awaitLive returns when every agent is live, at two looks more than a second apart, as the bridge counts once a second.
func (s *stage) awaitLive(ctx context.Context) error {
	var since time.Time
	return s.until(ctx, "every agent has a session", func() (progress string, done bool, err error) {
		stat, err := s.control.Stat(ctx)
		if err != nil {
			return "", false, err
		}
		live := stat.Sockets == s.agents
		if live {
			live, err = s.under.live(ctx, s)
		}
		if !live {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		}
		return strconv.Itoa(stat.Sockets), live && time.Since(since) > 1500*time.Millisecond, err
	})
}

// until looks every now and then, until done, an error, the end of a process, or no change of what progress says for too long.
func (s *stage) until(ctx context.Context, what string, look func() (progress string, done bool, err error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last, since := "", time.Now()
	for {
		if err := s.died(); err != nil {
			return err
		}
		progress, done, err := look()
		switch {
		case err != nil || done:
			return err
		case progress != last:
			last, since = progress, time.Now()
		case time.Since(since) > patience:
			return fmt.Errorf("waited %v without progress until %s; it is at %s; the %s wrote:\n%s", patience, what, progress, s.under.name(), s.program.Tail())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *stage) died() error {
	var errs []error
	for _, p := range []*process.Process{s.generator, s.broker, s.program} {
		if p != nil {
			errs = append(errs, p.Err())
		}
	}
	return errors.Join(errs...)
}

// end is the stream's newest sequence, 0 where there is no stream yet.
func (s *stage) end(ctx context.Context) (uint64, error) {
	name, _ := s.under.stream()
	stream, err := s.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// strike ends what still runs, the program under test first, and removes the round's files.
func (s *stage) strike() error {
	if s.conn != nil {
		s.conn.Close()
	}
	var errs []error
	for _, p := range []*process.Process{s.program, s.generator, s.broker} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/verify"
)

// stage is everything of one round: a generator, a broker and the program under test, each a process of its own and made anew. So no round inherits
// a broker's indexes, a heap or a page of a log from the one before it; only of Kafka a round has no more of its own than a topic.
type stage struct {
	dir    string // this round's files, removed at its end
	agents int

	generator *process.Process
	vendor    generator.Ready
	control   generator.Client
	trust     string // the certificate's file; empty: ws

	broker broker
	others []broker // to which the program publishes too

	under   program
	program *process.Process
}

// program is a program under test, for one round.
type program interface {
	// name is short: bridge, limit, peer.
	name() string
	// stream is where its events land, of NATS. made: it makes the stream itself.
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

// setStage starts everything and returns when every agent is live. Without any brokers there is a NATS server. The caller calls strike in any case; the stage is
// never nil.
func (r *runner) setStage(ctx context.Context, under program, agents int, tls bool, brokers ...broker) (s *stage, err error) {
	if len(brokers) == 0 {
		brokers = []broker{r.nats()}
	}
	s = &stage{agents: agents, under: under, broker: brokers[0], others: brokers[1:]}
	if s.dir, err = os.MkdirTemp(r.options.Dir, "bench-"); err != nil {
		return s, err
	}
	if err := s.startGenerator(ctx, r.self, tls); err != nil {
		return s, err
	}
	for _, b := range brokers {
		if err := b.start(ctx, s.dir, under); err != nil {
			return s, err
		}
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

// brokers are all of them, the one that is measured first.
func (s *stage) brokers() []broker { return append([]broker{s.broker}, s.others...) }

func (s *stage) died() error {
	var errs []error
	for _, p := range []*process.Process{s.generator, s.program} {
		if p != nil {
			errs = append(errs, p.Err())
		}
	}
	for _, b := range s.brokers() {
		errs = append(errs, b.err())
	}
	return errors.Join(errs...)
}

// strike ends what still runs, the program under test first, and removes the round's files.
func (s *stage) strike() error {
	var errs []error
	for _, p := range []*process.Process{s.program, s.generator} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	for _, b := range s.brokers() {
		errs = append(errs, b.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

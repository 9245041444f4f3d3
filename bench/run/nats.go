package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/verify"
)

// natsServer is a server of the stage's own, as it is after its installation, with JetStream; streams are in files, and synced every two minutes, its default.
type natsServer struct {
	path   string // of the program
	url    string
	stream string

	server *process.Process
	conn   *nats.Conn
	js     jetstream.JetStream
}

var listening = regexp.MustCompile(`Listening for client connections on (\S+)`)

func (n *natsServer) start(ctx context.Context, dir string, under program) (err error) {
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream {store_dir: %q, max_file_store: 20G}\n", filepath.Join(dir, "store"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	n.server, err = process.Start(ctx, process.Command{Path: n.path, Args: []string{"-c", config}, Ready: func(line string) bool {
		if found := listening.FindStringSubmatch(line); found != nil {
			n.url = "nats://" + found[1]
		}
		return n.url != ""
	}})
	if err != nil {
		return err
	}
	if n.conn, err = nats.Connect(n.url, nats.Name("bench")); err != nil {
		return err
	}
	if n.js, err = jetstream.New(n.conn); err != nil {
		return err
	}
	name, made := under.stream()
	n.stream = name
	if made {
		return nil
	}
	// As the bridge makes its own.
	_, err = n.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, Retention: jetstream.LimitsPolicy,
		Replicas: 1, MaxAge: 7 * 24 * time.Hour, MaxBytes: -1, Duplicates: 2 * time.Minute,
	})
	return err
}

func (n *natsServer) sink() string {
	return fmt.Sprintf("nats: {url: %q, stream: %s}", n.url, n.stream)
}
func (n *natsServer) limit() []string { return []string{"-nats", n.url} }

func (n *natsServer) end(ctx context.Context) (place, error) {
	stream, err := n.js.Stream(ctx, n.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return place{int64(stream.CachedInfo().State.LastSeq)}, nil
}

func (n *natsServer) read(ctx context.Context, from, to place, take func(id string, stored time.Time, partition int)) error {
	if to == nil {
		return nil
	}
	first := uint64(1)
	if from != nil {
		first += uint64(from[0])
	}
	return verify.Read(ctx, n.js, n.stream, first, uint64(to[0]), take)
}

func (n *natsServer) usage() (process.Usage, error) { return n.server.Usage() }

func (n *natsServer) err() error {
	if n.server == nil {
		return nil
	}
	return n.server.Err()
}

func (n *natsServer) stop() error {
	if n.conn != nil {
		n.conn.Close()
	}
	if n.server == nil {
		return nil
	}
	return n.server.Stop()
}

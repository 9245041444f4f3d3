package limit_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/limit"
	"github.com/taskbridge/taskbridge/bench/verify"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// broker runs a server in this process; its stream may have to be made.
func broker(t *testing.T) (url string, js jetstream.JetStream) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the broker does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return s.ClientURL(), js
}

// vendor runs a generator until the test ends.
func vendor(t *testing.T) (sockets string, c generator.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan generator.Ready, 1), make(chan error, 1)
	go func() {
		ended <- generator.New().Run(ctx, nil, func(r generator.Ready) error {
			ready <- r
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	r := <-ready
	return strings.Replace(strings.TrimSuffix(r.URL, "/v1/wschannels"), "http", "ws", 1) + "/ws", generator.Client{Control: r.Control}
}

// begin runs the limit, until every agent has a socket.
func begin(t *testing.T, o limit.Options) (c generator.Client, ended <-chan error, stop func()) {
	t.Helper()
	o.Sockets, c = vendor(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	end := make(chan error, 1)
	go func() { end <- limit.Run(ctx, o) }()
	for {
		stat, err := c.Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if stat.Sockets == o.Agents {
			return c, end, cancel
		}
	}
}

// More than its window holds, by several sockets: each event once, in the order of its agent.
func TestLimit(t *testing.T) {
	url, js := broker(t)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EV", Subjects: []string{limit.Subjects}})
	if err != nil {
		t.Fatal(err)
	}
	const agents, n = 4, 4 * 50 * wire.Cycle
	c, ended, stop := begin(t, limit.Options{Agents: agents, NATS: url})
	load, err := c.Go(t.Context(), n, 0)
	if err != nil {
		t.Fatal(err)
	}
	for held := uint64(0); held < n; {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = info.State.LastSeq
	}
	check := verify.New(load)
	if err := verify.Read(t.Context(), js, "EV", 1, n, check.Take); err != nil {
		t.Fatal(err)
	}
	if err := check.Report().Err(verify.ByAgent); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without a stream the server answers that nobody takes what is published: that is a failure, and no event counted.
func TestRefused(t *testing.T) {
	url, _ := broker(t)
	c, ended, _ := begin(t, limit.Options{Agents: 1, NATS: url})
	if _, err := c.Go(t.Context(), wire.Cycle, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want the server's answer", err)
	}
}

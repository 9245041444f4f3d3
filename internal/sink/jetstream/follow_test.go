package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/taskbridge/taskbridge/internal/config"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// follower is a Follow that runs; what it took comes out of bodies.
type follower struct {
	bodies chan string
	stop   context.CancelFunc
	ended  chan error
}

func follow(t *testing.T, c Config, from Start) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{make(chan string, 1000), cancel, make(chan error, 1)}
	go func() {
		f.ended <- Follow(ctx, c, from, zap.NewNop(), func(m Stored) error {
			f.bodies <- string(m.Body)
			return nil
		})
	}()
	t.Cleanup(cancel)
	return f
}

// next is the id of the next event.
func (f *follower) next(t *testing.T) string {
	t.Helper()
	select {
	case body := <-f.bodies:
		e, _, err := event.ParseStructured([]byte(body))
		if err != nil {
			t.Fatalf("got %s: %v", body, err)
		}
		return e.ID
	case err := <-f.ended:
		t.Fatalf("ended with %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
	}
	return ""
}

// end stops it and returns its error.
func (f *follower) end() error {
	f.stop()
	return <-f.ended
}

// consumers waits until the stream has that many.
func consumers(t *testing.T, url string, want int) {
	t.Helper()
	nc := dial(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	sinktest.Eventually(t, func() error {
		stream, err := js.Stream(t.Context(), testConfig(url).Stream)
		if err != nil {
			return err
		}
		if got := stream.CachedInfo().State.Consumers; got != want {
			return errors.New("another number of consumers")
		}
		return nil
	})
}

// What is stored in either mode comes as the same structured event, from the place asked for, and nothing stays on the server.
func TestFollow(t *testing.T) {
	for _, mode := range []string{Structured, Binary} {
		t.Run(mode, func(t *testing.T) {
			srv := startServer(t, t.TempDir(), 0)
			c := testConfig(srv.URL())
			c.Mode = mode
			s := connect(t, c)
			for _, id := range []string{"a", "b"} {
				if err := send(t, s, record(id)); err != nil {
					t.Fatal(err)
				}
			}
			since := time.Now()
			oldest, late, fresh := follow(t, c, Start{Oldest: true}), follow(t, c, Start{Since: since}), follow(t, c, Start{})
			consumers(t, srv.URL(), 3)
			odd := record(`id with "quotes", spaces, %41 and é`)
			if err := send(t, s, odd); err != nil {
				t.Fatal(err)
			}
			if got := []string{oldest.next(t), oldest.next(t), oldest.next(t)}; !cmp.Equal(got, []string{"a", "b", odd.Header.ID}) {
				t.Errorf("from the oldest: got %q", got)
			}
			for name, f := range map[string]*follower{"since": late, "from now": fresh} {
				if got := f.next(t); got != odd.Header.ID {
					t.Errorf("%s: got %q, want the last one alone", name, got)
				}
			}
			for _, f := range []*follower{oldest, late, fresh} {
				if err := f.end(); err != nil {
					t.Errorf("at its end: got %v, want nil", err)
				}
			}
			consumers(t, srv.URL(), 0)
		})
	}
}

func TestFollowGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	srv := startServer(t, dir, 0)
	c := testConfig(srv.URL())
	s := connect(t, c)
	if err := send(t, s, record("a")); err != nil {
		t.Fatal(err)
	}
	f := follow(t, c, Start{Oldest: true})
	if got := f.next(t); got != "a" {
		t.Fatalf("got %q, want a", got)
	}
	srv.Shutdown()
	startServer(t, dir, srv.Port())
	sinktest.Eventually(t, func() error { return send(t, s, record("b")) }) // until the sink has noticed both the end and the new beginning
	if got := f.next(t); got != "b" {
		t.Errorf("after the restart: got %q, want b", got)
	}
}

// A reader of a stream that is deleted says so and ends, also when there is a new one of its name at once.
func TestFollowEndsWithItsStream(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprintf("anew=%t", anew), func(t *testing.T) {
			srv := startServer(t, t.TempDir(), 0)
			c := testConfig(srv.URL())
			js, err := jetstream.New(dial(t, srv.URL()))
			if err != nil {
				t.Fatal(err)
			}
			settings := jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"contact.>"}}
			if _, err := js.CreateStream(t.Context(), settings); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "contact.x", []byte("x")); err != nil {
				t.Fatal(err)
			}
			f := follow(t, c, Start{Oldest: true})
			<-f.bodies
			if err := js.DeleteStream(t.Context(), "FACTS"); err != nil {
				t.Fatal(err)
			}
			if anew {
				if _, err := js.CreateStream(t.Context(), settings); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case err := <-f.ended:
				if !errors.Is(err, errStreamGone) || !strings.Contains(err.Error(), "stream FACTS: it was deleted") {
					t.Errorf("got %v, want it to say that the stream is gone", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

func TestFollowErrors(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	c := testConfig(srv.URL())
	if err := Follow(t.Context(), c, Start{}, zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), "does not exist on this server: a bridge creates it") {
		t.Errorf("no stream: got %v", err)
	}
	c.URL = "nats://127.0.0.1:1"
	if err := Follow(t.Context(), c, Start{}, zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), "connect to NATS") {
		t.Errorf("no server: got %v", err)
	}
	c = testConfig(srv.URL())
	s := connect(t, c)
	if err := send(t, s, record("a")); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if err := Follow(t.Context(), c, Start{Oldest: true}, zap.NewNop(), func(Stored) error { return full }); !errors.Is(err, full) {
		t.Errorf("got %v, want the error of take", err)
	}
}

func TestNoEventComesAsItIs(t *testing.T) {
	for _, test := range []struct {
		header map[string][]string
		data   string
	}{
		{nil, "hello"},
		{map[string][]string{"ce-id": {"x"}}, "not JSON"},
	} {
		if got := string(structured(test.header, []byte(test.data))); got != test.data {
			t.Errorf("got %s, want %s", got, test.data)
		}
	}
}

// The permissions that SECURITY.md names for reading are enough.
func TestFollowPermissions(t *testing.T) {
	const stream = "FACTS"
	url := custom(t, server.Options{Users: []*server.User{
		{Username: "admin", Password: "a"},
		{Username: "reader", Password: "r", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{
				"$JS.API.STREAM.INFO." + stream, "$JS.API.CONSUMER.CREATE." + stream + ".>", "$JS.API.CONSUMER.DELETE." + stream + ".>",
				"$JS.API.CONSUMER.MSG.NEXT." + stream + ".>",
			}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}},
	}})
	login := func(user, password string) Config {
		c := testConfig(url)
		c.Stream, c.User, c.Password = stream, user, config.NewSecret(password)
		return c
	}
	s := connect(t, login("admin", "a"))
	if err := send(t, s, record("a")); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	err := Follow(ctx, login("reader", "r"), Start{Oldest: true}, zap.New(core), func(Stored) error {
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, entry := range logs.All() {
		if entry.Message != "following the stream" {
			t.Errorf("got %s %v, want nothing to complain of", entry.Message, entry.ContextMap())
		}
	}
}

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// custom runs a server that package embedded would not make; one in operator mode has no JetStream, which would need a system account.
func custom(t *testing.T, o server.Options) string {
	t.Helper()
	return customServer(t, &o).ClientURL()
}

func customServer(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, t.TempDir(), true, true
	o.JetStream = o.TrustedKeys == nil
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("server not ready")
	}
	return s
}

// TestStartsBeforeServer begins with nobody to connect to: sends fail at once and are worth retrying, and the sink finds the server.
func TestStartsBeforeServer(t *testing.T) {
	dir := t.TempDir()
	first := startServer(t, dir, 0)
	first.Shutdown()
	reg := prometheus.NewRegistry()
	s := start(t, testConfig(first.URL()), zap.NewNop(), reg)
	b, answers := sendBatch(s, record("x"))
	if err := sinktest.Answer(t, answers); err == nil || retry.IsPermanent(err) || retry.ReasonOf(err) != "disconnected" {
		t.Errorf("Send without a server: got %v, want an unmarked error of reason disconnected", err)
	}
	if !b.FirstSent.IsZero() || b.Place != nil {
		t.Errorf("got stamps %v, %v on a batch that was given to no broker", b.FirstSent, b.Place)
	}
	if err := s.Landed(t.Context(), nil, nil); err == nil {
		t.Error("Landed without a server: got success")
	}
	if s.Mark(nil) != nil {
		t.Error("Mark before the stream was seen: got one")
	}
	startServer(t, dir, first.Port())
	sinktest.Eventually(t, s.Ready)
	if err := send(t, s, record("x")); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(s.metrics.connected) + testutil.ToFloat64(s.metrics.ready); got != 2 {
		t.Errorf("connected and stream_ready: got %v together, want 2", got)
	}
}

func TestClosedWithoutServer(t *testing.T) {
	first := startServer(t, t.TempDir(), 0)
	first.Shutdown()
	s := start(t, testConfig(first.URL()), zap.NewNop(), prometheus.NewRegistry())
	sinktest.Eventually(t, func() error { // the first attempt has failed
		if got := s.Ready().Error(); !strings.Contains(got, "refused") {
			return errors.New(got)
		}
		return nil
	})
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	never, err := New(testConfig("nats://127.0.0.1:1"), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Close(t.Context()); err != nil {
		t.Errorf("Close without Connect: %v", err)
	}
}

func TestAckTimeout(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	proxy := newProxy(t, strings.TrimPrefix(srv.URL(), "nats://"))
	c := testConfig(proxy.url())
	c.AckTimeout = config.Duration(100 * time.Millisecond)
	s := connect(t, c)
	proxy.answers.Hold(true)
	b, answers := sendBatch(s, record("x"))
	if err := sinktest.Answer(t, answers); !errors.Is(err, errTimeout) {
		t.Fatalf("got %v, want the time-out", err)
	}
	proxy.answers.Hold(false)
	// The same batch again: stored by the first Send, so it is a duplicate.
	b.Out()
	s.Send(b)
	if err := sinktest.Answer(t, answers); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(s.metrics.duplicates); got != 1 {
		t.Errorf("duplicate_acks_total: got %v, want 1", got)
	}
	if got := testutil.ToFloat64(s.metrics.errors.WithLabelValues("timeout")); got != 1 {
		t.Errorf("publish_errors_total{reason=timeout}: got %v, want 1", got)
	}
	if ids, err := storedIDs(t.Context(), dial(t, srv.URL())); err != nil || len(ids) != 1 {
		t.Errorf("stored: got %v and %v, want one", ids, err)
	}
}

// TestStreamRefuses puts limits on the stream that only the stream's answer tells of.
func TestStreamRefuses(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	js, err := jetstream.New(dial(t, srv.URL()))
	if err != nil {
		t.Fatal(err)
	}
	limited := jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"contact.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew}
	if _, err := js.CreateStream(t.Context(), limited); err != nil {
		t.Fatal(err)
	}
	s := connect(t, testConfig(srv.URL()))
	limited.MaxMsgSize = 5000 // a stream that had it before would not be used at all
	if _, err := js.UpdateStream(t.Context(), limited); err != nil {
		t.Fatal(err)
	}
	large := record("large")
	large.Data = []byte(`{"pad":"` + strings.Repeat("x", 5000) + `"}`)
	var rejected *sink.Rejected
	if err := send(t, s, large); !errors.As(err, &rejected) || rejected.Pos[0] != large.Pos {
		t.Errorf("larger than max_msg_size: got %v, want it rejected by position", err)
	}
	long := record("long")
	long.Header.Agent = strings.Repeat("*", maxSubject/3)
	if err := send(t, s, long); !errors.As(err, &rejected) {
		t.Errorf("longer subject than possible: got %v, want it rejected", err)
	}
	if err := send(t, s, record("1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("Ready: got %v, want nil: a rejected event says nothing about others", err)
	}
	if err := send(t, s, record("2")); err == nil || retry.ReasonOf(err) != "stream_full" || retry.Delay(err) == 0 || errors.As(err, &rejected) {
		t.Errorf("full stream: got %v, want a delayed unmarked error", err)
	}
}

// TestStreamDeleted deletes the stream under the sink: it is created again, and what was sent meanwhile is worth retrying.
func TestStreamDeleted(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	nc := dial(t, srv.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s := connect(t, testConfig(srv.URL()))
	if err := send(t, s, record("1")); err != nil {
		t.Fatal(err)
	}
	before := s.Mark(nil)
	if err := js.DeleteStream(t.Context(), "FACTS"); err != nil {
		t.Fatal(err)
	}
	b, answers := sendBatch(s, record("2"))
	if err := sinktest.Answer(t, answers); retry.ReasonOf(err) != "no_stream" {
		t.Errorf("without a stream: got %v, want reason no_stream", err)
	}
	sinktest.Eventually(t, s.Ready)
	for _, want := range []error{sink.ErrBrokerLost, nil} { // the loss is reported once
		b.Out()
		s.Send(b)
		if err := sinktest.Answer(t, answers); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	// b was first sent into the old stream, so its place is there, and asking from there must tell that it is gone.
	if got := s.Mark([]*sink.Batch{b}); string(got) != string(before) {
		t.Errorf("mark: got %x, want the one in the old stream, %x", got, before)
	}
	if err := s.Landed(t.Context(), before, nil); !errors.Is(err, sink.ErrBrokerLost) {
		t.Errorf("Landed: got %v, want ErrBrokerLost", err)
	}
}

// Whatever becomes of confirmed events behind the sink's back, and however that is found, is reported once.
func TestBrokerLost(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(t *testing.T, s *Sink, js jetstream.JetStream)
	}{
		{"re-created", func(t *testing.T, s *Sink, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), "FACTS"); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), s.cfg.streamConfig(s.wildcard)); err != nil {
				t.Fatal(err)
			}
		}},
		{"cut", func(_ *testing.T, s *Sink, _ jetstream.JetStream) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.newest += 10 // as if a server came back without the last ten
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := startServer(t, t.TempDir(), 0)
			js, err := jetstream.New(dial(t, srv.URL()))
			if err != nil {
				t.Fatal(err)
			}
			s := connect(t, testConfig(srv.URL()))
			if err := send(t, s, record("1")); err != nil {
				t.Fatal(err)
			}
			look := func() {
				t.Helper()
				if err := s.verifyStream(t.Context(), js); err != nil {
					t.Fatal(err)
				}
			}
			mark := s.Mark(nil)
			test.lose(t, s, js)
			look()
			if err := send(t, s, record("2")); !errors.Is(err, sink.ErrBrokerLost) {
				t.Errorf("got %v, want ErrBrokerLost", err)
			}
			look()
			if err := send(t, s, record("2")); err != nil {
				t.Errorf("sent again: got %v", err)
			}
			test.lose(t, s, js)
			if test.name == "cut" {
				mark = s.Mark(nil)
			}
			look()
			if err := s.Landed(t.Context(), mark, nil); !errors.Is(err, sink.ErrBrokerLost) {
				t.Errorf("Landed: got %v, want ErrBrokerLost", err)
			}
			if err := send(t, s, record("3")); err != nil {
				t.Errorf("after Landed had reported it: got %v", err)
			}
		})
	}
}

// TestLandedIgnoresOthers reads a stream into which others write too, on subjects of their own and on ours.
func TestLandedIgnoresOthers(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	nc := dial(t, srv.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"contact.>", "other.>"}}); err != nil {
		t.Fatal(err)
	}
	s := connect(t, testConfig(srv.URL()))
	mark := s.Mark(nil)
	publish := func(subject string, o ...jetstream.PublishOpt) {
		t.Helper()
		if _, err := js.Publish(t.Context(), subject, nil, o...); err != nil {
			t.Fatal(err)
		}
	}
	publish("other.x", jetstream.WithMsgID("not ours"))
	publish("contact.a.b.c.d.e") // without an id
	if err := send(t, s, record("ours")); err != nil {
		t.Fatal(err)
	}
	publish("contact.a.b.c.d.e", jetstream.WithMsgID("another bridge's"))
	publish("other.y")
	var found []string
	if err := s.Landed(t.Context(), mark, func(id string) { found = append(found, id) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(found, ", "); got != "ours, another bridge's" {
		t.Errorf("found: got %s", got)
	}
	if err := s.Landed(t.Context(), []byte("junk"), nil); err == nil {
		t.Error("Landed with a mark of another kind: got success")
	}
}

func TestUnsureAfterDuplicateWindow(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	s := connect(t, testConfig(srv.URL())) // 2 min
	for age, want := range map[time.Duration]error{90 * time.Second: nil, 100 * time.Second: sink.ErrUnsure} {
		answers := make(chan error, 1)
		b := sink.NewBatch(0, []spool.Record{record(age.String())}, func(_ *sink.Batch, err error) { answers <- err })
		b.FirstSent, b.Place = time.Now().Add(-age), s.Mark(nil)
		b.Out()
		s.Send(b)
		if err := sinktest.Answer(t, answers); !errors.Is(err, want) {
			t.Errorf("batch of %v: got %v, want %v", age, err, want)
		}
	}
}

// TestNoSecrets fails in every way that could show a credential.
func TestNoSecrets(t *testing.T) {
	const password, token = "hunter2-password", "hunter2-token"
	url := custom(t, server.Options{Username: "bridge", Password: "another"})
	var log sinktest.Lines
	var told []string
	for _, c := range []Config{
		func() Config {
			c := testConfig(url)
			c.User, c.Password = "bridge", config.NewSecret(password)
			return c
		}(),
		func() Config { c := testConfig(url); c.Token = config.NewSecret(token); return c }(),
	} {
		s := start(t, c, log.Logger(), prometheus.NewRegistry())
		sinktest.Eventually(t, func() error {
			if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
				return fmt.Errorf("Ready: got %w, want an authorization violation", err)
			}
			return nil
		})
		told = append(told, s.Ready().Error(), send(t, s, record("x")).Error(), fmt.Sprintf("%v %+v", c, c))
	}
	_, err := New(testConfig("nats://bridge:"+password+"@127.0.0.1:4222"), log.Logger(), prometheus.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "url: holds credentials") {
		t.Fatalf("URL with credentials: got %v, want it refused", err)
	}
	_, err2 := New(testConfig("nats://bridge:"+password+"@:bad"), log.Logger(), prometheus.NewRegistry())
	if err2 == nil {
		t.Fatal("URL that cannot be parsed: got no error")
	}
	all := strings.Join(append(told, err.Error(), err2.Error(), log.String()), "\n")
	if !strings.Contains(all, "cannot connect to NATS") {
		t.Error("the log does not tell of the refusal")
	}
	if strings.Contains(all, "hunter2") {
		t.Errorf("a secret is shown in:\n%s", all)
	}
}

func TestCloseEndsWithContext(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	proxy := newProxy(t, strings.TrimPrefix(srv.URL(), "nats://"))
	s := connect(t, testConfig(proxy.url()))
	proxy.answers.Hold(true)
	defer proxy.answers.Hold(false)
	_, answers := sendBatch(s, record("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: got %v, want context.Canceled", err)
	}
	if err := sinktest.Answer(t, answers); !errors.Is(err, errClosed) {
		t.Errorf("batch: got %v, want errClosed", err)
	}
}

// BenchmarkSend publishes with as much in flight as the limits allow, over 5,000 lanes; the server is in the same process.
func BenchmarkSend(b *testing.B) {
	srv, err := embedded.Start(b.TempDir(), 0, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Shutdown()
	s, err := New(testConfig(srv.URL()), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	s.Connect(b.Context())
	defer func() { _ = s.Close(b.Context()) }()
	for s.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	slots := make(chan struct{}, inFlight)
	pad := []byte(`{"pad":"` + strings.Repeat("x", 700) + `"}`)
	b.ReportAllocs()
	for i := range b.N {
		r := record(fmt.Sprintf("WR%d:accepted", i))
		r.Data = pad
		slots <- struct{}{}
		batch := sink.NewBatch(i%5000, []spool.Record{r}, func(_ *sink.Batch, err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
		batch.Out()
		s.Send(batch)
	}
	for range inFlight {
		slots <- struct{}{}
	}
}

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSinkSuite(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) *sinktest.Fixture {
		dir := t.TempDir()
		server := startServer(t, dir, 0)
		proxy := newProxy(t, fmt.Sprintf("127.0.0.1:%d", server.Port()))
		s := connect(t, testConfig(proxy.url()))
		direct := dial(t, server.URL())
		return &sinktest.Fixture{
			Sink:     s,
			TooLarge: 1 << 20,
			Stored:   func(ctx context.Context) ([]string, error) { return storedIDs(ctx, direct) },
			Hold:     proxy.answers.Hold,
			Cut:      proxy.cut,
			Restart: func() error {
				server.Shutdown()
				startServer(t, dir, server.Port())
				return nil
			},
			Recreate: func() error {
				js, err := jetstream.New(direct)
				if err != nil {
					return err
				}
				if err := js.DeleteStream(t.Context(), "FACTS"); err != nil {
					return err
				}
				_, err = js.CreateStream(t.Context(), s.cfg.streamConfig(s.wildcard))
				return err
			},
		}
	})
}

func startServer(t *testing.T, dir string, port int) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(dir, port, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func testConfig(url string) Config {
	var c Config
	c.SetDefaults()
	c.URL, c.Stream = url, "FACTS"
	return c
}

// connect makes a sink that is ready and is closed at the end of the test.
func connect(t *testing.T, c Config) *Sink {
	t.Helper()
	s := start(t, c, zap.NewNop(), prometheus.NewRegistry())
	sinktest.Eventually(t, s.Ready)
	return s
}

func start(t *testing.T, c Config, log *zap.Logger, reg prometheus.Registerer) *Sink {
	t.Helper()
	s, err := New(c, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	sinktest.Connect(t, s)
	return s
}

// dial is a connection of the test's own.
func dial(t *testing.T, url string) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		<-closed
	})
	return nc
}

// storedMessages reads the stream from its first message on.
func storedMessages(ctx context.Context, nc *nats.Conn) ([]*jetstream.RawStreamMsg, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "FACTS")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*jetstream.RawStreamMsg
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		msg, err := stream.GetMsg(ctx, seq)
		if err != nil {
			return nil, err
		}
		all = append(all, msg)
	}
	return all, nil
}

func storedIDs(ctx context.Context, nc *nats.Conn) ([]string, error) {
	all, err := storedMessages(ctx, nc)
	var ids []string
	for _, m := range all {
		ids = append(ids, m.Header.Get("Nats-Msg-Id"))
	}
	return ids, err
}

// send sends one record and returns what came of it.
func send(t *testing.T, s *Sink, r spool.Record) error {
	t.Helper()
	_, answers := sendBatch(s, r)
	return sinktest.Answer(t, answers)
}

func sendBatch(s *Sink, r spool.Record) (*sink.Batch, chan error) {
	answers := make(chan error, 1)
	b := sink.NewBatch(s.Lane(&r), []spool.Record{r}, func(_ *sink.Batch, err error) { answers <- err })
	b.Out()
	s.Send(b)
	return b, answers
}

// proxy stands between the sink and the server.
type proxy struct {
	listener net.Listener
	server   string
	wg       sync.WaitGroup
	answers  *sinktest.Gate

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: server, answers: sinktest.NewGate(), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.answers.Hold(false)
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(server, client, func() {}) })
		p.wg.Go(func() { p.pass(client, server, p.answers.Wait) })
	}
}

// pass copies until either side ends; before each write it waits.
func (p *proxy) pass(to, from net.Conn, wait func()) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		wait()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.conns, to)
	delete(p.conns, from)
	p.mu.Unlock()
	_ = errors.Join(to.Close(), from.Close())
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func secretFile(t *testing.T, dir, name, content string) config.Path {
	t.Helper()
	return writeFile(t, dir, name, content, 0o600)
}

func writeFile(t *testing.T, dir, name, content string, mode os.FileMode) config.Path {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return config.Path(path)
}

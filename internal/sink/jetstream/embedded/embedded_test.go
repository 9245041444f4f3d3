package embedded

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir string, port int) *Server {
	t.Helper()
	s, err := Start(dir, port, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(s.URL(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		<-closed
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestRestart starts a second server on the data and the port of the first.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir, 0)
	if !strings.HasPrefix(first.URL(), "nats://127.0.0.1:") {
		t.Errorf("URL: got %s, want one on loopback", first.URL())
	}
	js := connect(t, first)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Storage: jetstream.FileStorage}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	first.Shutdown()
	first.Shutdown() // again: nothing

	second := start(t, dir, first.Port())
	if second.URL() != first.URL() {
		t.Errorf("URL after the restart: got %s, want %s", second.URL(), first.URL())
	}
	stream, err := connect(t, second).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages after the restart: got %d, want 1", got)
	}
}

func TestStartRefuses(t *testing.T) {
	taken := start(t, t.TempDir(), 0)
	if s, err := Start(t.TempDir(), taken.Port(), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "is the port taken") {
		if s != nil {
			s.Shutdown()
		}
		t.Errorf("port that is taken: got %v, want it to say so", err)
	}
	if _, err := Start("", 0, zap.NewNop()); err == nil {
		t.Error("no folder: got no error")
	}
}

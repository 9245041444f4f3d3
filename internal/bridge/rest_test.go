//go:build !race

// The race detector needs memory as well.

package bridge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// patientVendor lets sessions live and is almost free of cost: of each it keeps the socket, and no goroutine.
type patientVendor struct {
	mu      sync.Mutex
	sockets []net.Conn
}

func (v *patientVendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		_, after, _ := strings.Cut(string(body), "/Workers/")
		r.Body = io.NopCloser(bytes.NewReader(body))
		script{worker: `{"sid":"` + after[:len(worker)] + `"}`}.answer(w, r)
		return
	}
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sockets = append(v.sockets, conn.NetConn())
	_, _ = conn.NetConn().Write(textFrame(`{"event_type":"init","payload":{"token_lifetime":3566253}}`))
}

// textFrame is a message shorter than 126 bytes as a server sends it (RFC 6455, section 5.2).
func textFrame(text string) []byte { return append([]byte{0x81, byte(len(text))}, text...) }

// forgetful confirms everything.
type forgetful struct{ plainSink }

func (*forgetful) Send(b *sink.Batch) { b.Done(nil) }

// TestRest bounds what lives in the heap for a session while nothing happens, of the bridge's side and the patient vendor's together.
func TestRest(t *testing.T) {
	// What it was when this was written last, rounded up: more is a step back, and less belongs here.
	const mostObjects = 47
	const sessions = 1000

	vendor := &patientVendor{}
	server := httptest.NewServer(vendor)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	cfg := vendorConfig(server.URL, nil)
	src, err := taskrouter.New(cfg, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	agents := make([]source.Agent, sessions)
	for i := range agents {
		agents[i] = cfg.Agent(fmt.Sprintf("WK%032x", i))
	}
	policy, err := mapping.NewPolicy(mapping.PrivacyConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{BridgeID: "b", DialRate: 1000, Silence: time.Hour}, map[string]Feed{"toy": {Source: src, Mapper: mapping.NewTaskRouter(policy)}},
		spool.NewMemory(spool.MemoryOptions{}), map[string]sink.Sink{"forgetful": &forgetful{}}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("waited a minute until %s", what)
			}
		}
	}
	before := living()
	if err := b.SetRoster(map[string][]source.Agent{"toy": agents}); err != nil {
		t.Fatal(err)
	}
	await("all are live", func() bool { return b.Status().Agents[event.SessionLive] == sessions })
	got := float64(living()-before) / sessions
	t.Logf("%.1f objects per session", got)
	if got > mostObjects {
		t.Errorf("got %.1f objects per session, want at most %d", got, mostObjects)
	}
}

// living is how many objects live in the heap. What pools hold goes in the second collection.
func living() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapObjects
}

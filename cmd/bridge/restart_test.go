package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
)

// A stop leaves what the broker has not confirmed in the spool; the next start delivers it, knows everybody, and tells nothing again. What neither delivers,
// bridge drain does.
func TestRestart(t *testing.T) {
	sim := simulate(t, "--workers", "3", "--rate", "50")
	broker := t.TempDir()
	server, err := embedded.Start(broker, 0, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	port := server.Port()
	server.Shutdown()
	file := configure(t, sim, fmt.Sprintf(`{url: "nats://127.0.0.1:%d", stream: FACTS}`, port), "bridge: {stop: fast}")
	live := func(p *program) {
		health := p.healthURL(t)
		eventually(t, "all are live", func() bool {
			_, metrics := get(t, health+"/metrics")
			return strings.Contains(metrics, `taskbridge_sessions{state="live"} 3`)
		})
	}
	for range 2 { // the broker is away all the time
		p := start(t, "run", "-c", file)
		live(p)
		began := time.Now()
		p.stop()
		if err := p.wait(t); err != nil {
			t.Fatalf("got %v, want a clean stop", err)
		}
		if took := time.Since(began); took > 10*time.Second { // 2 s on a machine that has nothing else to do
			t.Errorf("the stop took %v", took)
		}
		if n := p.logged(t, "bridge stopped")["undelivered"].(map[string]any)["facts"].(float64); n == 0 {
			t.Error("nothing is left, although there is no broker")
		}
	}

	if server, err = embedded.Start(broker, port, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	code, stdout, stderr := exec(t, "drain", "-c", file)
	if code != 0 || !strings.HasSuffix(stdout, "facts: 0 events left\n") {
		t.Fatalf("drain: got exit code %d, %q and %s", code, stdout, stderr)
	}
	got := stored(t, server.URL())
	want := map[string]int{
		"continuity unknown": 3, "continuity gap": 3, "gap opened stop": 6, "gap closed stop": 3, "gap opened crash": 0, "stored twice": 0,
	}
	for what, n := range want {
		if got[what] != n {
			t.Errorf("got %v, want %v", got, want)
			break
		}
	}
}

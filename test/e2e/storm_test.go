package e2e

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/trial"
)

// TestStorm: a thousand sessions are reset at once. They come back within the dial budget, each agent has one gap, and nothing stays behind. Each
// session takes two file descriptors of this process. Not parallel: it measures the whole process.
func TestStorm(t *testing.T) {
	long(t)
	const agents, budget = 1000, 200
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	t.Cleanup(func() { runtime.MemProfileRate = rate })
	tr := start(t, trial.Options{
		Agents: agents, Rate: 20, DialRate: budget, Duration: 3 * time.Second, TokenLifetime: time.Hour, Heartbeat: 5 * time.Second, Silence: 30 * time.Second,
	})
	emit(t, tr, 40)
	heap, goroutines := footprint()
	earlier := sum(tr.Observed().Dials)

	if err := tr.Disturb(simulator.Fault{Kind: "reset"}, 0); err != nil {
		t.Fatal(err)
	}
	until(t, "every session is dialled again", func() bool { return sum(tr.Observed().Dials) >= earlier+agents })
	until(t, "every session is live", func() bool { p := tr.Progress(); return p.Live == agents && p.OpenGaps == 0 })
	emit(t, tr, 40)

	dials := tr.Observed().Dials
	if sum(dials) != 2*agents {
		t.Errorf("got %d dials for %d sessions that were lost once", sum(dials), agents)
	}
	if err := withinBudget(dials, budget); err != nil {
		t.Error(err)
	}
	until(t, "as many goroutines as before", func() bool { _, now := footprint(); return now == goroutines })
	var now int64
	until(t, "memory is back within 10 %", func() bool { now, _ = footprint(); return heap-heap/10 < now && now < heap+heap/10 })
	t.Logf("the bridge holds %.2f MiB before, %.2f MiB after; %d goroutines", float64(heap)/(1<<20), float64(now)/(1<<20), goroutines)

	all, err := tr.Verdict(t.Context())
	v := all[trial.NATS]
	t.Logf("%+v", v)
	if err != nil {
		t.Error(err)
	}
	if v.Gaps != agents {
		t.Errorf("got %d gaps, want one of each of %d agents", v.Gaps, agents)
	}
}

// TestStormControl: a bridge with a larger budget is found out.
func TestStormControl(t *testing.T) {
	long(t)
	const agents = 200
	tr := start(t, trial.Options{Agents: agents, Rate: 100, DialRate: 1000, Duration: time.Second, TokenLifetime: time.Hour})
	if dials := tr.Observed().Dials; withinBudget(dials, agents/10) == nil {
		t.Errorf("%v is called within a budget of %d/s", dials, agents/10)
	}
}

// start brings a trial up with every session live. Its end fails if it did more than observe.
func start(t *testing.T, o trial.Options, cores ...zapcore.Core) *trial.Trial {
	t.Helper()
	o.Dir = t.TempDir()
	log := zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel), zaptest.WrapOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewTee(append(cores, c)...)
	})))
	tr, err := trial.Start(t.Context(), o, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := tr.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return tr
}

// emit lets the workload add n entries to the ledger.
func emit(t *testing.T, tr *trial.Trial, n int) {
	t.Helper()
	from := tr.Progress().Emitted
	until(t, "the workload goes on", func() bool { return tr.Progress().Emitted >= from+n })
}

// withinBudget says where more was dialled than the budget of dials per second allows. Two seconds' worth more is let pass at any time: dials that
// left when they should can arrive together on a machine that has stalled, and a second's count has edges.
func withinBudget(dials []simulator.Dials, budget int) error {
	for i := range dials {
		n := 0
		for _, d := range dials[i:] {
			n += d.Count
			if seconds := int(d.Second - dials[i].Second + 1); n > budget*(seconds+2) {
				return fmt.Errorf("%d dials arrived within %d s, the budget is %d/s: %v", n, seconds, budget, dials)
			}
		}
	}
	return nil
}

func sum(dials []simulator.Dials) (n int) {
	for _, d := range dials {
		n += d.Count
	}
	return n
}

// ours are the functions of a running bridge: what they have allocated, libraries called by them included, is what it holds.
var ours = regexp.MustCompile(`^github\.com/taskbridge/taskbridge/internal/(bridge|event|mapping|spool|source/taskrouter|sink/jetstream)\.`)

// stacks are the groups of a goroutine profile: how many, and where they are.
var stacks = regexp.MustCompile(`(?m)^([0-9]+) @ .*\n((?:#.*\n)*)`)

// footprint is what the bridge holds in this process, where simulator, broker and judge rightly grow with every event: bytes of heap after garbage
// collection, exact as long as runtime.MemProfileRate is 1, and the goroutines of everybody but those of idle HTTP connections, which the pools on both
// sides keep for a while.
func footprint() (heap int64, goroutines int) {
	for range 3 { // a memory profile lags behind by up to two collections
		runtime.GC()
	}
	records := make([]runtime.MemProfileRecord, 100_000)
	n, _ := runtime.MemProfile(records, false)
	for _, r := range records[:n] {
		if held(r.Stack()) {
			heap += r.InUseBytes()
		}
	}
	var text bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&text, 1) // to memory: cannot fail
	for _, group := range stacks.FindAllStringSubmatch(text.String(), -1) {
		pooled := strings.Contains(group[2], "net/http.(*persistConn)") ||
			strings.Contains(group[2], "net/http.(*conn)") && !strings.Contains(group[2], "serveSocket")
		if n, err := strconv.Atoi(group[1]); err == nil && !pooled {
			goroutines += n
		}
	}
	return heap, goroutines
}

// held says whether an allocation is the bridge's. The consumer decodes with package event too.
func held(stack []uintptr) (by bool) {
	frames := runtime.CallersFrames(stack)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.Contains(f.Function, "trial.(*consumer)") {
			return false
		}
		by = by || ours.MatchString(f.Function)
	}
	return by
}

package page

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/run"
	"github.com/taskbridge/taskbridge/bench/spool"
	"github.com/taskbridge/taskbridge/bench/verify"
)

func figures() *Figures {
	round := func(program string, rate, seconds, cpu, p99 float64) run.Round {
		return run.Round{
			Program: program, Number: 1, Agents: 100, Events: 1000, Rate: rate, Seconds: seconds, ProgramCPU: cpu, P50: 1, P99: p99, P999: 9,
			Verified: verify.Report{Events: 1000},
		}
	}
	moved := func(program string, longest float64) run.Round {
		r := round(program, 3000, 1, 0, 0)
		r.Longest = longest
		return r
	}
	idle := func(sessions int, tls bool, kib int64) run.Idle {
		return run.Idle{Sessions: sessions, TLS: tls, RSS: 20<<20 + int64(sessions)*kib<<10}
	}
	return &Figures{
		Run: &run.Results{
			Began: time.Unix(0, 0).UTC(),
			Flood: []run.Round{round("bridge", 0, 2, 8, 0), round("limit", 0, 1, 4, 0)},
			Paced: []run.Round{
				round("bridge", 1000, 1, 30, 3), round("limit", 1000, 1, 20, 2), round("bridge", 10_000, 1, 30, 6), round("limit", 10_000, 1, 20, 2),
			},
			Sessions:   []run.Round{round("bridge", 20_000, 1, 10, 0), round("bridge", 20_000, 1, 12, 0)},
			Idle:       []run.Idle{idle(0, false, 0), idle(10_000, false, 9), idle(10_000, true, 30)},
			KafkaFlood: []run.Round{round("bridge", 0, 2, 8, 0), round("limit", 0, 1, 4, 0)},
			KafkaPaced: []run.Round{round("bridge", 10_000, 1, 8, 4), round("limit", 10_000, 1, 4, 2)},
			KafkaSink:  []run.Round{round("sink", 0, 1, 1, 0), round("writer", 0, 1, 2, 0)},
			KafkaMoves: []run.Round{moved("sink", 140), moved("franz-go", 300)},
			Outages: []run.Outage{{
				Rate: 2000, Before: 4, During: 4.5, Backlog: 100, Drain: 8000, Flowing: verify.Report{Events: 7}, Held: verify.Report{Events: 7},
			}},
			Storm: &run.Storm{Sessions: 10_000, Budget: 50, Peak: 50, Dials: 10_000, Seconds: 200, Before: 100, After: 120},
		},
		Spool: &spool.Result{Appenders: 256, RecordBytes: 1092, Rounds: []spool.Round{{
			Own: spool.Figures{PerSecond: 3, P50: 1, P99: 2, P999: 3, CPU: 1}, RaftWAL: spool.Figures{PerSecond: 2, P50: 1, P99: 2, P999: 3, CPU: 1},
		}}},
		Allocations: 3,
	}
}

func TestTargets(t *testing.T) {
	want := map[string]string{
		"flood: events/s": "**missed**", "flood: CPU": "met", "10,000 events/s: p99 ": "**missed**", "10,000 events/s: p99, of": "met", "1,000 events/s": "met",
		"10,000, ws": "met", "10,000, TLS": "**missed**", "20,000 events/s": "met", "spool": "reached", "allocations": "met",
		"Kafka, flood: events/s": "met", "Kafka, flood: CPU": "reached", "the sink alone": "reached", "Kafka, 10,000 events/s": "reached",
		"leaders move": "reached", "one sink down": "met", "one sink back": "**missed**",
		"most dials": "met", "RSS afterwards": "**missed**",
	}
	for _, target := range figures().targets() {
		for what, verdict := range want {
			if strings.Contains(target.What+" ", what) {
				if got := string(target.Verdict()); got != verdict && !(verdict == "met" && got == "reached" && target.Reach == 0) {
					t.Errorf("%s: got %s, want %s", target.What, got, verdict)
				}
				delete(want, what)
			}
		}
	}
	for what := range want {
		t.Errorf("no target %q", what)
	}
}

// TestNotMeasured: a part that did not run is said to be missing, and is no target that was met.
func TestNotMeasured(t *testing.T) {
	f := &Figures{Run: &run.Results{}}
	for _, target := range f.targets() {
		if got := string(target.Verdict()); got != "not measured" {
			t.Errorf("%s: got %s", target.What, got)
		}
	}
}

// TestWhyNotMeasured: where something was asked for and could not be measured, the page says why.
func TestWhyNotMeasured(t *testing.T) {
	f := figures()
	f.Run.KafkaFlood = nil
	f.Run.NotMeasured = map[string]string{"kafka-flood": "no java"}
	dir := t.TempDir()
	if err := f.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "not measured: no java"); got != 2 {
		t.Errorf("%d targets say why they were not measured, want 2:\n%s", got, text)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "NOTES.md"), []byte("Why one is missed.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := figures().Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"**missed**", "Why one is missed.", "1000: 0 missing"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if _, link, drawn := strings.Cut(line, "]("); drawn && strings.HasPrefix(line, "![") {
			if _, err := os.Stat(filepath.Join(dir, strings.TrimSuffix(strings.TrimSpace(link), ")"))); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAdd(t *testing.T) {
	f := &Figures{}
	first, second := figures(), figures()
	first.Run.Paced, first.Spool = nil, nil
	second.Run.Flood, second.Run.Idle, second.Run.Storm, second.Run.Sessions, second.Allocations = nil, nil, nil, nil, 0
	first.Machine.Commit, second.Machine.Commit = "one", "two"
	f.Add(first)
	f.Add(second)
	dir := t.TempDir()
	if err := f.Write(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md")); err != nil || !strings.Contains(string(text), "different commits") {
		t.Errorf("the page does not tell that its parts are of different commits: %v", err)
	}
	for _, target := range f.targets() {
		if target.Verdict() == report.NotMeasured {
			t.Errorf("lost: %s", target.What)
		}
	}
}

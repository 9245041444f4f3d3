package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDemoTellsTheVerdict(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), nil, []string{"demo", "--duration", "1s", "--agents", "4", "--rate", "60"}, &stdout, &stderr); err != nil {
		t.Fatalf("demo: %v\n%s%s", err, &stdout, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "PASS: emitted ") || !strings.Contains(last, "missing 0, duplicates 0, out of order 0, invented 0") {
		t.Errorf("got last line %q, want the judge's", last)
	}
}

func TestDemoJSON(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), nil, []string{"demo", "--duration", "1s", "--agents", "4", "--rate", "60", "--json"}, &stdout, &stderr); err != nil {
		t.Fatalf("demo: %v\n%s", err, &stderr)
	}
	var got map[string]float64
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("standard output is not one JSON object of numbers: %v\n%s", err, &stdout)
	}
	var keys []string
	for k := range got {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	want := []string{
		"duplicates", "emitted", "events_per_second", "gap_seconds", "gaps", "invented", "landed", "missing", "out_of_order", "p50_ms", "p99_ms",
	}
	if d := cmp.Diff(want, keys); d != "" {
		t.Errorf("members (-want +got):\n%s", d)
	}
	if got["emitted"] < 54 || got["landed"] != got["emitted"] {
		t.Errorf("got %v emitted and %v landed, want at least 54 (0.9 × 60/s × 1 s), all of them landed", got["emitted"], got["landed"])
	}
}

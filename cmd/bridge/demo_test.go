package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
)

// fakeKafka is the address of a broker that is no Apache Kafka.
func fakeKafka(t *testing.T) string {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k.ListenAddrs()[0]
}

// TestDemoOfBoth: each sink gets everything and has a verdict of its own.
func TestDemoOfBoth(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	args := []string{"demo", "--duration", "1s", "--agents", "4", "--rate", "60", "--sink", "both", "--brokers", fakeKafka(t), "--json"}
	if err := run(t.Context(), nil, args, &stdout, &stderr); err != nil {
		t.Fatalf("demo: %v\n%s", err, &stderr)
	}
	var got map[string]map[string]float64
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, &stdout)
	}
	if got["nats"]["landed"] < 54 || got["nats"]["landed"] != got["kafka"]["landed"] {
		t.Errorf("got %+v, want at least 54 events, the same number of each", got)
	}
}

// Without a broker there is nothing to show, and it is said at once what is missing.
func TestDemoWithoutKafka(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sinks := range []string{"kafka", "both"} {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), nil, []string{"demo", "--sink", sinks, "--brokers", closed}, &stdout, &stderr)
		if err == nil || !strings.Contains(err.Error(), "no Kafka answers at "+closed) || !strings.Contains(err.Error(), "start one there") {
			t.Errorf("%s: got %v, want what is missing and what to do", sinks, err)
		}
		if strings.Contains(stdout.String()+stderr.String(), "sessions") {
			t.Errorf("%s: it began all the same:\n%s%s", sinks, &stdout, &stderr)
		}
	}
}

func TestDemoSinks(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--sink", "files"}, {"--sink", "kafka"}, {"--sink", "both"}, {"--brokers", "localhost:9092"}} {
		var stdout, stderr bytes.Buffer
		var usage usageError
		if err := run(t.Context(), nil, append([]string{"demo"}, args...), &stdout, &stderr); !errors.As(err, &usage) {
			t.Errorf("%v: got %v, want an error of the command line", args, err)
		}
	}
}

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

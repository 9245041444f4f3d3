package verify_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/verify"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// started is a load of two agents, the second of the generator's: its events do not begin at 0.
var started = generator.Started{First: wire.Cycle, Each: 2 * wire.Cycle, Agents: 2}

func ids() (all []string) {
	for seq := started.First; seq < started.First+started.Each; seq++ {
		for agent := range uint32(started.Agents) {
			all = append(all, wire.Event{Agent: agent, Seq: seq}.ID())
		}
	}
	return all
}

// at is an event's place in ids.
func at(agent, seq int) int { return seq*started.Agents + agent }

// Each way in which a stream can be wrong is seen, and is called what it is.
func TestChecker(t *testing.T) {
	n := len(ids())
	for name, c := range map[string]struct {
		change func(ids []string) []string
		want   verify.Report
		ok     [3]bool // for Unordered, ByTask, ByAgent
	}{
		"as sent": {
			func(ids []string) []string { return ids }, verify.Report{Events: n}, [3]bool{true, true, true},
		},
		"with the bridge's own": {
			func(ids []string) []string {
				return append([]string{"", "WK00000000000000000000000000000001:ready:1"}, ids...)
			},
			verify.Report{Events: n, Others: 2},
			[3]bool{true, true, true},
		},
		"agents in another order": {
			func(ids []string) []string {
				for i := 0; i < len(ids); i += 2 {
					ids[i], ids[i+1] = ids[i+1], ids[i]
				}
				return ids
			},
			verify.Report{Events: n},
			[3]bool{true, true, true},
		},
		"one missing": {
			func(ids []string) []string { return slices.Delete(ids, 17, 18) },
			verify.Report{Events: n - 1, Missing: 1, Examples: []string{"missing " + ids()[17]}},
			[3]bool{},
		},
		"the last missing": {
			func(ids []string) []string { return ids[:n-1] },
			verify.Report{Events: n - 1, Missing: 1, Examples: []string{"missing " + ids()[n-1]}},
			[3]bool{},
		},
		"one twice": {
			func(ids []string) []string { return append(ids, ids[3]) },
			verify.Report{Events: n, Duplicates: 1, Examples: []string{"duplicate " + ids()[3]}},
			[3]bool{},
		},
		"two of a task swapped": {
			func(ids []string) []string {
				a, b := at(1, 5), at(1, 5+wire.Tasks)
				ids[a], ids[b] = ids[b], ids[a]
				return ids
			},
			// The later one comes ten places early, which all between are late to.
			verify.Report{Events: n, KeyBreaks: 1, AgentBreaks: wire.Tasks, Examples: []string{"late " + ids()[at(1, 5)]}},
			[3]bool{true, false, false},
		},
		"two of an agent swapped": {
			func(ids []string) []string {
				a, b := at(0, 5), at(0, 6)
				ids[a], ids[b] = ids[b], ids[a]
				return ids
			},
			verify.Report{Events: n, AgentBreaks: 1},
			[3]bool{true, true, false},
		},
		"one of the load before": {
			func(ids []string) []string { return append(ids, wire.Event{Agent: 1, Seq: started.First - 1}.ID()) },
			verify.Report{Events: n, Foreign: 1, Examples: []string{"foreign " + wire.Event{Agent: 1, Seq: started.First - 1}.ID()}},
			[3]bool{},
		},
		"one of a third agent": {
			func(ids []string) []string { return append(ids, wire.Event{Agent: 2, Seq: started.First}.ID()) },
			verify.Report{Events: n, Foreign: 1, Examples: []string{"foreign " + wire.Event{Agent: 2, Seq: started.First}.ID()}},
			[3]bool{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check := verify.New(started)
			for i, id := range c.change(ids()) {
				check.Take(id, time.Unix(100, int64(i)), 0)
			}
			got := check.Report()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if complete := check.Complete(); complete != (got.Missing == 0) {
				t.Errorf("complete: got %t with %d missing", complete, got.Missing)
			}
			for promised, want := range c.ok {
				if err := got.Err(verify.Order(promised)); (err == nil) != want {
					t.Errorf("order %d: got %v, want an error: %t", promised, err, !want)
				}
			}
		})
	}
}

// A topic's partitions are read one after the other: what has an order must be in one of them.
func TestCheckerOfPartitions(t *testing.T) {
	const of = 2
	byTask := func(e wire.Event) int { return int(e.Seq % wire.Tasks % of) }
	for name, c := range map[string]struct {
		partition            func(e wire.Event) int
		backwards, keyBreaks bool
	}{
		"by agent":                  {func(e wire.Event) int { return int(e.Agent) }, false, false},
		"by task":                   {byTask, false, false},
		"by task, last first":       {byTask, true, false},
		"a task in two":             {func(e wire.Event) int { return int(e.Seq / wire.Tasks % of) }, false, true},
		"a task in two, in order":   {func(e wire.Event) int { return int(e.Seq / (2 * wire.Tasks) % of) }, false, true},
		"a task in two, last first": {func(e wire.Event) int { return int(e.Seq / wire.Tasks % of) }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var partitions [of][]string
			for seq := started.First; seq < started.First+started.Each; seq++ {
				for a := range uint32(started.Agents) {
					e := wire.Event{Agent: a, Seq: seq}
					partitions[c.partition(e)] = append(partitions[c.partition(e)], e.ID())
				}
			}
			check := verify.New(started)
			for i := range partitions {
				if c.backwards {
					i = len(partitions) - 1 - i
				}
				for _, id := range partitions[i] {
					check.Take(id, time.Unix(100, 0), i)
				}
			}
			got := check.Report()
			if got.Missing != 0 || (got.KeyBreaks > 0) != c.keyBreaks || got.AgentBreaks != 0 {
				t.Errorf("got %+v, want breaks of a task's order: %t", got, c.keyBreaks)
			}
		})
	}
}

func TestLatencies(t *testing.T) {
	check := verify.New(generator.Started{Each: wire.Cycle, Agents: 1})
	stamps := make([]int64, wire.Cycle)
	var want []time.Duration
	for i := range stamps {
		stamps[i] = int64(1000 + i)
		if i == 7 {
			continue // missing, so without a latency
		}
		check.Take(wire.Event{Seq: uint64(i)}.ID(), time.Unix(0, stamps[i]+int64(i)*10), 0)
		want = append(want, time.Duration(i)*10)
	}
	if diff := cmp.Diff(want, check.Latencies(stamps)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	last := len(stamps) - 1
	if got, want := check.Last(), time.Unix(0, stamps[last]+int64(last)*10); !got.Equal(want) {
		t.Errorf("last: got %v, want %v", got, want)
	}
}

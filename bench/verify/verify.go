// Package verify judges what a stream holds by what the generator has sent: every event once, and in order.
package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// Report is what was found.
type Report struct {
	// Events are those of the load, each counted once.
	Events int `json:"events"`
	// Missing are events of the load that the stream lacks.
	Missing int `json:"missing"`
	// Duplicates are messages with the id of one before them.
	Duplicates int `json:"duplicates"`
	// KeyBreaks are events that the stream has after a later one about the same task, or in another partition than its next one.
	KeyBreaks int `json:"key_breaks"`
	// AgentBreaks are events that the stream has after a later one of the same agent, be it about another task; of a topic, in the same partition.
	AgentBreaks int `json:"agent_breaks"`
	// Foreign are the generator's events that are not of this load.
	Foreign int `json:"foreign"`
	// Others are messages that tell no event of the generator's: the bridge's own, about sessions and snapshots.
	Others int `json:"others"`
	// Examples name the first violations.
	Examples []string `json:"examples,omitempty"`
}

// Order is what a program promises of the order in which events are stored.
type Order int

// From nothing to the order of each socket. Neither is promised across agents.
const (
	Unordered Order = iota
	ByTask          // an agent's events about one task
	ByAgent         // all events of an agent
)

// Err is nil where every event is there once, in the order that is promised.
func (r Report) Err(promised Order) error {
	var errs []error
	count := func(n int, what string) {
		if n > 0 {
			errs = append(errs, fmt.Errorf("%d %s", n, what))
		}
	}
	count(r.Missing, "events missing")
	count(r.Duplicates, "duplicates")
	count(r.Foreign, "events of another load")
	if promised >= ByTask {
		count(r.KeyBreaks, "breaks of a task's order")
	}
	if promised >= ByAgent {
		count(r.AgentBreaks, "breaks of an agent's order")
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("the stream is not what was sent: %w; for example %q", errors.Join(errs...), r.Examples)
}

// Checker takes the messages of a stream in its order, or those of a topic in the order of each partition. Not safe for concurrent use.
type Checker struct {
	load   generator.Started
	stored []int64          // by index, ns since 1970; 0: not seen
	where  []int            // by index, the partition of what was seen
	latest map[place]uint64 // the highest sequence seen
	report Report
}

// place is where an agent's events have an order.
type place struct {
	agent     uint32
	partition int
}

// New makes a checker for the events of a load.
func New(load generator.Started) *Checker {
	n := load.Each * uint64(load.Agents)
	return &Checker{load: load, stored: make([]int64, n), where: make([]int, n), latest: map[place]uint64{}}
}

// index is the place of e in what [generator.Client.Stamps] returns. False: e is not of this load.
func (c *Checker) index(e wire.Event) (int, bool) {
	if e.Seq < c.load.First || e.Seq >= c.load.First+c.load.Each || e.Agent >= uint32(c.load.Agents) {
		return 0, false
	}
	return int(e.Seq-c.load.First)*c.load.Agents + int(e.Agent), true
}

// mostExamples bounds what is told of a stream that is all wrong.
const mostExamples = 5

func (c *Checker) note(n *int, what, id string) {
	*n++
	if len(c.report.Examples) < mostExamples {
		c.report.Examples = append(c.report.Examples, what+" "+id)
	}
}

// Take takes the next message: its id, when it was stored, and in which partition, which is 0 in a stream.
func (c *Checker) Take(id string, stored time.Time, partition int) {
	e, err := wire.ParseID(id)
	if err != nil {
		c.report.Others++
		return
	}
	i, ok := c.index(e)
	switch {
	case !ok:
		c.note(&c.report.Foreign, "foreign", id)
		return
	case c.stored[i] != 0:
		c.note(&c.report.Duplicates, "duplicate", id)
		return
	}
	c.report.Events++
	c.stored[i], c.where[i] = stored.UnixNano(), partition
	if c.late(e) || c.apart(e, partition) {
		c.note(&c.report.KeyBreaks, "late", id)
	}
	latest := place{e.Agent, partition}
	if e.Seq < c.latest[latest] {
		c.report.AgentBreaks++
	} else {
		c.latest[latest] = e.Seq
	}
}

// late: a later event about the task was seen before e.
func (c *Checker) late(e wire.Event) bool {
	for later, more := e.Later(); more; later, more = later.Later() {
		if j, ok := c.index(later); ok && c.stored[j] != 0 {
			return true
		}
	}
	return false
}

// apart: the event before e about the task lies in another partition. No consumer would have the two in order but by chance.
func (c *Checker) apart(e wire.Event, partition int) bool {
	earlier, more := e.Earlier()
	if !more {
		return false
	}
	j, ok := c.index(earlier)
	return ok && c.stored[j] != 0 && c.where[j] != partition
}

// Complete reports whether every event was seen.
func (c *Checker) Complete() bool { return c.report.Events == len(c.stored) }

// Report sums up. It may be called again after further messages.
func (c *Checker) Report() Report {
	r := c.report
	r.Missing = len(c.stored) - r.Events
	for i, at := range c.stored {
		if r.Missing == 0 || len(r.Examples) >= mostExamples {
			break
		}
		if at == 0 {
			e := wire.Event{Agent: uint32(i % c.load.Agents), Seq: c.load.First + uint64(i/c.load.Agents)}
			r.Examples = append(r.Examples[:len(r.Examples):len(r.Examples)], "missing "+e.ID())
		}
	}
	return r
}

// Last is when the last event was stored.
func (c *Checker) Last() time.Time {
	var last int64
	for _, at := range c.stored {
		last = max(last, at)
	}
	return time.Unix(0, last)
}

// Stored are the times at which the events were stored, ns since 1970, in the order of [generator.Client.Stamps]; 0: it was not seen.
func (c *Checker) Stored() []int64 { return c.stored }

// Latencies are, of every event seen, the time from stamps, when it was sent, to its storage.
func (c *Checker) Latencies(stamps []int64) []time.Duration {
	all := make([]time.Duration, 0, len(stamps))
	for i, at := range c.stored {
		if at != 0 {
			all = append(all, time.Duration(at-stamps[i]))
		}
	}
	return all
}

// Package feed gives encoded events to one Kafka client after another: to the bridge's own sink, as the publisher does, and to what could be in its place. No
// socket, no mapping, no log: what is measured is the way from an encoded event to the broker's answer.
package feed

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/wire"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// The clients.
const (
	Sink   = "sink"       // the bridge's: internal/sink/kafka
	Writer = "writer"     // kafka-go's Writer: async, batches of 1,000, acks=all
	Franz  = "franz-go"   // its idempotent producer without a linger
	agents = 100          // of the events; with ten tasks each, a thousand keys
	window = 16_000       // events that are not answered yet, at most
	group  = 100          // events that a client is given at once, in a flood
	warmUp = 100_000      // events whose cost alone is measured
	sample = "event.json" // a usual event as the bridge has published it
)

// Options say what to feed to whom.
type Options struct {
	Client  string   // Sink, Writer or Franz
	Brokers []string // host:port
	Topic   string   // which is there
	// Events is how many, whole cycles of a hundred agents: a multiple of 4,000.
	Events uint64
	// Rate is the events per second; 0: as fast as the client takes them.
	Rate float64
}

// Load is which events those are.
func (o Options) Load() generator.Started {
	return generator.Started{Each: o.Events / agents, Agents: agents}
}

// Result is what feeding took.
type Result struct {
	// Seconds from the first event to the last answer.
	Seconds float64 `json:"seconds"`
	// CPU of the client, user and system, in microseconds per event: what making the events alone takes is not in it.
	CPU float64 `json:"cpu_us"`
	// Longest is, by partition, the longest that an event waited from its time to the broker's answer, in milliseconds; only with a rate.
	Longest []float64 `json:"longest_ms,omitempty"`
}

// client brings records to the topic.
type client interface {
	// send takes records, whose data stays; it does not wait for answers.
	send(records []spool.Record)
	// close ends it. Everything is answered, or something has failed.
	close(ctx context.Context) error
}

// confirm is told, from any goroutine, that the next n events of a partition are stored, oldest the first of them; or why that will never be.
type confirm func(partition int, oldest spool.Pos, n int, err error)

// Run feeds.
func Run(ctx context.Context, o Options) (Result, error) {
	open := map[string]func(context.Context, Options, confirm) (client, error){Sink: openSink, Writer: openWriter, Franz: openFranz}[o.Client]
	if open == nil {
		return Result{}, fmt.Errorf("no client %q", o.Client)
	}
	if o.Events == 0 || o.Events%(agents*wire.Cycle) != 0 || o.Rate < 0 {
		return Result{}, fmt.Errorf("%d events at %g per second: want a multiple of %d, at a rate of 0 or more", o.Events, o.Rate, agents*wire.Cycle)
	}
	s, err := newSource()
	if err != nil {
		return Result{}, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	alone := s.cost()
	free := semaphore.NewWeighted(window)
	w := &waits{}
	c, err := open(ctx, o, func(partition int, oldest spool.Pos, n int, err error) {
		if err != nil {
			fail(err)
			return
		}
		w.answered(partition, oldest, time.Now())
		free.Release(int64(n))
	})
	if err != nil {
		return Result{}, err
	}
	began, cpu := time.Now(), process.OwnCPU()
	w.begin(began, o.Rate)
	err = give(ctx, s, o, began, free, c)
	if err == nil { // whoever has the whole window has seen every answer
		err = free.Acquire(ctx, window)
	}
	used, took := process.OwnCPU()-cpu, time.Since(began)
	if err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	err = errors.Join(err, c.close(ctx))
	each := float64(used.Nanoseconds())/float64(o.Events) - alone
	return Result{Seconds: took.Seconds(), CPU: each / 1e3, Longest: w.longest()}, err
}

// give sends all events, in groups where there is no rate.
func give(ctx context.Context, s *source, o Options, began time.Time, free *semaphore.Weighted, c client) error {
	together := uint64(group)
	if o.Rate > 0 {
		together = 1
	}
	for i := uint64(0); i < o.Events; i += together {
		if o.Rate > 0 {
			sleepUntil(dueAt(began, o.Rate, i))
		}
		if err := free.Acquire(ctx, int64(together)); err != nil {
			return err
		}
		c.send(s.records(i, together))
	}
	return nil
}

// dueAt is when an event is to be sent.
func dueAt(began time.Time, rate float64, i uint64) time.Time {
	return began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
}

func sleepUntil(due time.Time) {
	for d := time.Until(due); d > 0; d = time.Until(due) {
		generator.Sleep(d)
	}
}

//go:embed event.json
var sampleEvent []byte

// source makes the records that a log would give.
type source struct {
	header event.Header
	data   []byte
}

func newSource() (*source, error) {
	e, _, err := event.ParseStructured(sampleEvent)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sample, err)
	}
	var encoded event.Encoded
	e.Encode(&encoded)
	return &source{encoded.Header, encoded.Data}, nil
}

// records are n from event i of all on: agent after agent for the first sequence, then for the next.
func (s *source) records(i, n uint64) []spool.Record {
	all := make([]spool.Record, n)
	for j := range all {
		at := i + uint64(j)
		id := wire.Event{Agent: uint32(at % agents), Seq: at / agents}.ID()
		r := &all[j]
		*r = spool.Record{Pos: spool.Pos(at + 1), Epoch: 1_767_323_075, Header: s.header, Data: s.data}
		r.Header.ID, r.Header.Subject = id, id[:len("WR")+32]
		r.Header.PartitionKey = r.Header.Subject
		r.Key = spool.Hash(r.Header.PartitionKey)
	}
	return all
}

// cost is the CPU that an event takes to be made, in ns.
func (s *source) cost() float64 {
	began := process.OwnCPU()
	for i := uint64(0); i < warmUp; i += group {
		s.records(i, group)
	}
	return float64((process.OwnCPU() - began).Nanoseconds()) / warmUp
}

// waits are how long events of each partition waited at most. Safe for concurrent use.
type waits struct {
	began time.Time
	rate  float64

	mu   sync.Mutex
	most []time.Duration // by partition
}

// begin is called before the first event is sent.
func (w *waits) begin(at time.Time, rate float64) { w.began, w.rate = at, rate }

// answered takes note of an answer. Events of a partition are answered in their order, so the oldest has waited longest.
func (w *waits) answered(partition int, oldest spool.Pos, now time.Time) {
	if w.rate == 0 {
		return
	}
	waited := now.Sub(dueAt(w.began, w.rate, uint64(oldest)-1))
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.most) <= partition {
		w.most = append(w.most, 0)
	}
	w.most[partition] = max(w.most[partition], waited)
}

// longest are in ms.
func (w *waits) longest() (ms []float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.most {
		ms = append(ms, float64(d)/float64(time.Millisecond))
	}
	return ms
}

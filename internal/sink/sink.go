// Package sink is the contract between the bridge's publisher and a broker. A Sink sends batches and reports what became of them; order,
// retries, dead letters and metrics are the publisher's, once for all brokers. It knows a broker and no vendor.
package sink

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// Sink delivers batches to one broker.
//
// A lane is the unit of order: the publisher has at most one batch of a lane out at a time, and sends an unmarked failed batch again before
// anything newer of its lane. Records of one key always share a lane.
//
// A batch ends when it is stored or [Rejected]. What is left of a rejected one goes in new batches, before anything newer of its lane, also where all of it goes
// again because it could not be set aside: their first Send is a first one, of which nothing can be in doubt.
type Sink interface {
	Limits() Limits
	// Open finds out which lanes there are. The publisher calls it until it succeeds, before the first call of Lane, Send or Landed, and again after
	// [ErrLanes]. Nothing is out meanwhile, and of no batch it is in doubt whether it was stored.
	Open(ctx context.Context) error
	// Lane is in [0, Limits().Lanes) and fixed for a record until the next Open.
	Lane(r *spool.Record) int
	// Send starts b and returns; b.Done is called exactly once per Send, from any goroutine, also inside Send. At the first Send
	// of a batch the sink stamps b.FirstSent and b.Place. One goroutine calls Send.
	//
	// Errors reported by Done: unmarked means worth retrying for ever (retry.After: not before); [ErrUnsure]; [Rejected]; [ErrBrokerLost] and [ErrLanes], once
	// per loss and per change, for a batch that was not sent and is to be sent again.
	Send(b *Batch)
	// Mark is the place from which Landed must look so that it sees whatever of the open batches was stored. open is every batch sent and
	// not done, also those waiting for a retry. After Landed has returned [ErrBrokerLost], and until the next Send, that of nil is from where the same must be
	// asked again: the mark's places where the log is still there, the beginning of what was re-created.
	Mark(open []*Batch) []byte
	// Landed calls found with the id of every record of ours that the broker stored after mark, and maybe of others. Nothing is out meanwhile. A nil mark finds
	// nothing; a nil found only asks whether the log is still there. What has been stored and may yet be undone is waited for, or an error.
	//
	// [ErrBrokerLost] says that the log, or a part of it, was re-created or ends before mark, and that this was asked more than once where a broker may be behind.
	// What was found counts also then: the rest of the log, and what was re-created, was read like any other; what ends before mark was not, because nothing tells
	// where it was cut. With another error nothing counts.
	//
	// No request is without a time-out; together they may take as long as something comes ([Reading]).
	Landed(ctx context.Context, mark []byte, found func(id string)) error
	// Close returns when every batch out was answered or ctx has ended; batches still out are then answered with an error. Idempotent; nothing is
	// sent after it.
	Close(ctx context.Context) error
}

// Limits is what a sink wants of the publisher.
type Limits struct {
	Lanes    int // how many lanes there are; of a sink that asks its broker, as the last Open found
	InFlight int // batches out at a time, over all lanes
	Records  int // records per batch
	Bytes    int // data bytes per batch; a single record may exceed it
}

// Batch is some records of one lane, in order. The publisher makes it; a sink must not keep it after Done.
type Batch struct {
	Lane    int
	Records []spool.Record
	// FirstSent is when the batch was first given to the broker, Place the newest place in the broker's log known then. Zero until the
	// first Send; they stay through retries.
	FirstSent time.Time
	Place     []byte

	report func(*Batch, error)
	out    atomic.Bool
	ended  bool // stored or rejected
}

// NewBatch makes a batch whose Done calls report.
func NewBatch(lane int, records []spool.Record, report func(*Batch, error)) *Batch {
	b := new(Batch)
	b.Init(lane, records, report)
	return b
}

// Init is [NewBatch] of a zero Batch, for a publisher that allocates many at once.
func (b *Batch) Init(lane int, records []spool.Record, report func(*Batch, error)) {
	b.Lane, b.Records, b.report = lane, records, report
}

// Out is called by the publisher before each Send: it arms Done for that Send. It panics for a batch that is out or has ended.
func (b *Batch) Out() {
	if b.out.Swap(true) {
		panic("sink: batch sent while it is out")
	}
	if b.ended {
		panic("sink: batch sent again after it was stored or rejected")
	}
}

// Done reports what became of the batch: nil when the broker has stored all of it. Exactly once per Send; a second call panics,
// because the publisher may have reused the lane by then.
func (b *Batch) Done(err error) {
	if !b.out.Swap(false) {
		panic("sink: batch done twice")
	}
	_, rejected := errors.AsType[*Rejected](err)
	b.ended = err == nil || rejected
	b.report(b, err)
}

// Age is how long ago the batch was first sent, by the clock that says more. The monotonic one stands still while the machine is suspended, and the broker's goes on;
// the wall clock may be set back.
func (b *Batch) Age() time.Duration {
	now := time.Now()
	return max(now.Sub(b.FirstSent), now.Round(0).Sub(b.FirstSent.Round(0)))
}

// ErrUnsure says that the batch may be stored and that the broker would not recognise a repeat. The publisher asks Landed before it sends
// anything again.
var ErrUnsure = errors.New("may be stored, and the broker no longer recognises a repeat")

// ErrBrokerLost says that the broker's log, or a part of it, was re-created or ends before the mark, or before what it had confirmed.
var ErrBrokerLost = errors.New("the broker's log was re-created or ends before the last confirmed place")

// ErrLanes says that the broker has other lanes than the last Open found, for instance more partitions. The publisher sends nothing more, asks Landed about what
// it cannot know, calls Open, and puts what it holds into the new lanes: a key's events that are under way in two lanes would overtake each other.
var ErrLanes = errors.New("the broker's lanes have changed")

// Rejected says that nothing of the batch was stored and that the named records never will be. None named: one of them is to blame, and
// the publisher halves the batch until one is left. The batch has ended.
type Rejected struct {
	Pos []spool.Pos
	Err error
}

// Error describes the broker's refusal.
func (r *Rejected) Error() string { return fmt.Sprintf("rejected by the broker: %v", r.Err) }

// Unwrap is the broker's refusal.
func (r *Rejected) Unwrap() error { return r.Err }

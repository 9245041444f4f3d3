package sinktest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// publisher is the least that keeps the contract's other side: one batch of a lane out at a time, a failed one first and unchanged.
type publisher struct {
	sink     sink.Sink
	lanes    map[int][]spool.Record // not yet in a batch
	out      int
	answers  chan answer
	retries  chan *sent
	accepted int                // records that the sink said were stored
	errs     int                // unmarked errors seen
	rejected map[spool.Pos]bool // set aside
	unkept   int                // so many refusals cannot be set aside: the same records go again
	moved    bool               // the sink has said that its lanes changed
	opened   int                // again
	disturb  func(accepted int) // called after every answer

	// As accepted and out, but already changed when the sink calls Done: for faults that are injected beside deliver.
	confirmed, outNow atomic.Int64
}

// sent is a batch and what it was at its first Send.
type sent struct {
	*sink.Batch
	records []spool.Record
	first   time.Time
	place   []byte
}

type answer struct {
	batch *sent
	err   error
}

const (
	retryWait  = 5 * time.Millisecond
	maxRecords = 5 // per batch, so that a check has many batches
)

func newPublisher(s sink.Sink) *publisher {
	return &publisher{
		sink: s, lanes: map[int][]spool.Record{}, answers: make(chan answer, 1<<16), retries: make(chan *sent, 1<<16),
		rejected: map[spool.Pos]bool{}, disturb: func(int) {},
	}
}

// open asks until the sink can answer: it may not be connected yet.
func open(ctx context.Context, s sink.Sink) error {
	if err := until(ctx, func() error { return s.Open(ctx) }); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return nil
}

// deliver returns when every record is stored or rejected.
func (p *publisher) deliver(ctx context.Context, records []spool.Record) error {
	for _, r := range records {
		lane := p.sink.Lane(&r)
		p.lanes[lane] = append(p.lanes[lane], r)
	}
	want := p.accepted + len(p.rejected) + len(records)
	var idle []int
	for lane := range p.lanes {
		idle = append(idle, lane)
	}
	slices.Sort(idle)
	for p.accepted+len(p.rejected) < want {
		if p.moved && p.out == 0 {
			if err := p.relane(ctx); err != nil {
				return err
			}
			idle = slices.Sorted(maps.Keys(p.lanes))
		}
		for len(idle) > 0 && p.out < p.sink.Limits().InFlight && !p.moved {
			p.next(idle[0])
			idle = idle[1:]
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d records delivered, %d batches out when time was up", p.accepted, want, p.out)
		case b := <-p.retries:
			p.send(b)
		case a := <-p.answers:
			free, err := p.answered(a)
			if err != nil {
				return err
			}
			if free {
				idle = append(idle, a.batch.Lane)
			}
			p.disturb(p.accepted)
		}
	}
	return nil
}

// next sends the lane's next batch.
func (p *publisher) next(lane int) {
	queue, l := p.lanes[lane], p.sink.Limits()
	if len(queue) == 0 {
		return
	}
	n, size := 1, len(queue[0].Data)
	for n < len(queue) && n < min(l.Records, maxRecords) && size+len(queue[n].Data) <= l.Bytes {
		size += len(queue[n].Data)
		n++
	}
	p.lanes[lane] = queue[n:]
	p.send(p.batch(lane, queue[:n]))
}

func (p *publisher) batch(lane int, records []spool.Record) *sent {
	s := &sent{records: cloneRecords(records)}
	s.Batch = sink.NewBatch(lane, records, func(_ *sink.Batch, err error) {
		if err == nil {
			p.confirmed.Add(int64(len(records)))
		}
		p.outNow.Add(-1)
		p.answers <- answer{s, err}
	})
	return s
}

func (p *publisher) send(b *sent) {
	b.Out()
	p.out++
	p.outNow.Add(1)
	p.sink.Send(b.Batch)
}

// answered reports whether the lane may go on with its next batch.
func (p *publisher) answered(a answer) (bool, error) {
	p.out--
	b := a.batch
	if err := b.unchanged(a.err); err != nil {
		return false, err
	}
	var rejected *sink.Rejected
	switch {
	case a.err == nil:
		p.accepted += len(b.Records)
		return true, nil
	case errors.As(a.err, &rejected):
		return p.setAside(b, rejected)
	case errors.Is(a.err, sink.ErrLanes):
		// It is the first of its lane, and was not sent.
		p.moved = true
		p.lanes[b.Lane] = append(slices.Clone(b.Records), p.lanes[b.Lane]...)
		return false, nil
	case errors.Is(a.err, sink.ErrUnsure):
		return false, fmt.Errorf("unsure about a batch that was first sent %v ago", time.Since(b.FirstSent))
	default:
		p.errs++
		time.AfterFunc(max(retryWait, retry.Delay(a.err)), func() { p.retries <- b })
		return false, nil
	}
}

// unchanged checks that the sink left the batch as it was, but for the stamps of its first Send.
func (b *sent) unchanged(err error) error {
	if !slices.EqualFunc(b.Records, b.records, equalRecords) {
		return errors.New("the sink changed the batch's records")
	}
	if b.first.IsZero() {
		b.first, b.place = b.FirstSent, bytes.Clone(b.Place)
		if err == nil && (b.FirstSent.IsZero() || b.Place == nil) {
			return errors.New("a batch was stored, and FirstSent or Place is not stamped")
		}
		return nil
	}
	if !b.FirstSent.Equal(b.first) || !bytes.Equal(b.Place, b.place) {
		return errors.New("FirstSent or Place changed at a repeat")
	}
	return nil
}

// relane opens the sink again and puts what is left into its new lanes, in the order of the log.
func (p *publisher) relane(ctx context.Context) error {
	var rest []spool.Record
	for _, queue := range p.lanes {
		rest = append(rest, queue...)
	}
	slices.SortFunc(rest, func(a, b spool.Record) int { return cmp.Compare(a.Pos, b.Pos) })
	if err := open(ctx, p.sink); err != nil {
		return err
	}
	p.moved = false
	p.opened++
	clear(p.lanes)
	for _, r := range rest {
		lane := p.sink.Lane(&r)
		p.lanes[lane] = append(p.lanes[lane], r)
	}
	return nil
}

func (p *publisher) setAside(b *sent, r *sink.Rejected) (bool, error) {
	if p.unkept > 0 {
		p.unkept--
		p.send(p.batch(b.Lane, b.Records))
		return false, nil
	}
	bad := r.Pos
	if len(bad) == 0 && len(b.Records) == 1 {
		bad = []spool.Pos{b.Records[0].Pos}
	}
	var rest []spool.Record
	for _, rec := range b.Records {
		if slices.Contains(bad, rec.Pos) {
			p.rejected[rec.Pos] = true
		} else {
			rest = append(rest, rec)
		}
	}
	switch {
	case len(rest) == 0:
		return true, nil
	case len(rest) == len(b.Records) && len(r.Pos) > 0:
		return false, fmt.Errorf("rejected positions %v are not in the batch", r.Pos)
	case len(rest) == len(b.Records):
		half := len(rest) / 2
		p.lanes[b.Lane] = append(slices.Clone(rest[half:]), p.lanes[b.Lane]...)
		rest = rest[:half]
	}
	p.send(p.batch(b.Lane, rest))
	return false, nil
}

func cloneRecords(records []spool.Record) []spool.Record {
	out := slices.Clone(records)
	for i := range out {
		out[i].Data = bytes.Clone(out[i].Data)
	}
	return out
}

func equalRecords(a, b spool.Record) bool {
	return a.Pos == b.Pos && a.Epoch == b.Epoch && a.Key == b.Key && a.Header == b.Header && bytes.Equal(a.Data, b.Data)
}

package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// source makes records whose ids tell their key and their place in it: "WT3-000017".
type source struct {
	pos  spool.Pos
	next map[string]int
}

func (s *source) records(keys, each int) []spool.Record {
	var out []spool.Record
	for range each {
		for k := range keys {
			out = append(out, s.record(fmt.Sprintf("WT%d", k), 300))
		}
	}
	return out
}

func (s *source) record(key string, size int) spool.Record {
	if s.next == nil {
		s.next = map[string]int{}
	}
	s.pos++
	s.next[key]++
	id := fmt.Sprintf("%s-%06d", key, s.next[key])
	now := event.InstantOf(time.Unix(1_790_000_000, 0))
	return spool.Record{
		Pos: s.pos, Epoch: 1_790_000_000, Key: spool.Hash(key),
		Header: event.Header{
			ID: id, Source: "/twilio/taskrouter/AC1/WS1", Type: event.TaskUpdated, Subject: key, Time: now, TimeSource: event.TimeVendor,
			Recorded: now, Origin: event.OriginSocket, PartitionKey: key, CorrelationID: key, BridgeID: "test",
			Provider: event.Twilio, Account: "AC1", Agent: "WK1",
		},
		Data: []byte(`{"provider":"twilio","pad":"` + strings.Repeat("x", size) + `"}`),
	}
}

// distinct makes each records for each of up to keys keys of which no two share a lane.
func (s *source) distinct(f *Fixture, keys, each int) []spool.Record {
	var names []string
	taken := map[int]bool{}
	for k := 0; len(names) < min(keys, f.Sink.Limits().Lanes); k++ {
		key := fmt.Sprintf("WT9%d", k)
		lane := f.Sink.Lane(&spool.Record{Key: spool.Hash(key), Header: event.Header{PartitionKey: key}})
		if !taken[lane] {
			taken[lane] = true
			names = append(names, key)
		}
	}
	var out []spool.Record
	for range each {
		for _, key := range names {
			out = append(out, s.record(key, 300))
		}
	}
	return out
}

func ids(records []spool.Record) []string {
	out := make([]string, len(records))
	for i := range records {
		out[i] = records[i].Header.ID
	}
	return out
}

// stored checks that the broker holds exactly want, each once, in order within each key.
func stored(ctx context.Context, f *Fixture, want []spool.Record) error {
	got, err := f.Stored(ctx)
	if err != nil {
		return fmt.Errorf("read the broker back: %w", err)
	}
	last, seen := map[string]string{}, map[string]bool{}
	for _, id := range got {
		key, _, _ := strings.Cut(id, "-")
		if seen[id] {
			return fmt.Errorf("%s is stored twice", id)
		}
		if id < last[key] {
			return fmt.Errorf("%s is stored after %s", id, last[key])
		}
		seen[id], last[key] = true, id
	}
	return sameIDs("stored", got, ids(want))
}

func sameIDs(what string, got, want []string) error {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	for _, id := range want {
		if _, ok := slices.BinarySearch(got, id); !ok {
			return fmt.Errorf("%s: got %d ids without %s, want %d", what, len(got), id, len(want))
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s: got %d ids, want %d", what, len(got), len(want))
	}
	return nil
}

// holds waits until the broker holds n records.
func holds(ctx context.Context, f *Fixture, n int) error {
	return until(ctx, func() error {
		got, err := f.Stored(ctx)
		if err == nil && len(got) < n {
			err = fmt.Errorf("the broker holds %d records, want %d", len(got), n)
		}
		return err
	})
}

// until repeats what until it succeeds; at the end of ctx it returns the last error.
func until(ctx context.Context, what func() error) error {
	for {
		err := what()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("time is up: %w", err)
		case <-time.After(retryWait):
		}
	}
}

func checkLanes(_ context.Context, f *Fixture) error {
	l := f.Sink.Limits()
	if l.Lanes < 1 || l.InFlight < 1 || l.Records < 1 || l.Bytes < 1 {
		return fmt.Errorf("limits: got %+v, want all positive", l)
	}
	var s source
	byKey := map[string]int{}
	for _, r := range s.records(500, 3) {
		lane := f.Sink.Lane(&r)
		if lane < 0 || lane >= l.Lanes {
			return fmt.Errorf("lane of %s: got %d, want one in [0, %d)", r.Header.ID, lane, l.Lanes)
		}
		if before, ok := byKey[r.Header.PartitionKey]; ok && before != lane {
			return fmt.Errorf("lane of %s: got %d, another record of its key has %d", r.Header.ID, lane, before)
		}
		byKey[r.Header.PartitionKey] = lane
	}
	return nil
}

func checkDelivery(ctx context.Context, f *Fixture) error {
	var s source
	records := s.records(40, 50)
	if err := newPublisher(f.Sink).deliver(ctx, records); err != nil {
		return err
	}
	return stored(ctx, f, records)
}

func checkLostAnswers(ctx context.Context, f *Fixture) error {
	return disturbed(ctx, f, []int{10, 33, 50}, func() error {
		f.Cut()
		return nil
	})
}

func checkRestart(ctx context.Context, f *Fixture) error {
	return disturbed(ctx, f, []int{20}, f.Restart)
}

// disturbed delivers and, each time the given percentage was reached, keeps answers back until all that is out is stored, and then
// lets fault lose the answers.
func disturbed(ctx context.Context, f *Fixture, percent []int, fault func() error) error {
	var s source
	records := s.distinct(f, 40, 50)
	p := newPublisher(f.Sink)
	var faults sync.WaitGroup
	var busy atomic.Bool
	failed := make(chan error, len(percent))
	p.disturb = func(accepted int) {
		if len(percent) == 0 || accepted < len(records)*percent[0]/100 || busy.Swap(true) {
			return
		}
		percent = percent[1:]
		f.Hold(true) // here, so that delivery cannot end before
		faults.Go(func() {
			defer busy.Store(false)
			defer f.Hold(false)
			if err := until(ctx, func() error {
				held, err := f.Stored(ctx)
				confirmed, out := int(p.confirmed.Load()), int(p.outNow.Load())
				if err == nil && (out == 0 || len(held) < confirmed+out) {
					err = fmt.Errorf("the broker holds %d records, %d are confirmed and %d batches out: want the answers to all of these held",
						len(held), confirmed, out)
				}
				return err
			}); err != nil {
				failed <- err
				return
			}
			failed <- fault()
		})
	}
	err := p.deliver(ctx, records)
	faults.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	switch {
	case err != nil:
		return err
	case len(percent) > 0:
		return fmt.Errorf("%d faults did not happen", len(percent))
	case p.errs == 0:
		return errors.New("no batch failed, although answers were lost")
	}
	return stored(ctx, f, records)
}

func checkRejected(ctx context.Context, f *Fixture) error {
	var s source
	var records, good []spool.Record
	poison := map[spool.Pos]bool{}
	for i := range 60 {
		r := s.record(fmt.Sprintf("WT%d", i%3), 100)
		if i%10 == 4 {
			r.Data = []byte(`{"pad":"` + strings.Repeat("x", f.TooLarge) + `"}`)
			poison[r.Pos] = true
		} else {
			good = append(good, r)
		}
		records = append(records, r)
	}
	p := newPublisher(f.Sink)
	p.unkept = 5
	if err := p.deliver(ctx, records); err != nil {
		return err
	}
	for pos := range p.rejected {
		if !poison[pos] {
			return fmt.Errorf("position %d was rejected, the broker takes it", pos)
		}
	}
	if len(p.rejected) != len(poison) {
		return fmt.Errorf("got %d rejected, want %d", len(p.rejected), len(poison))
	}
	return stored(ctx, f, good)
}

// checkChange gives the broker other lanes while records are on their way. The harness opens the sink again when nothing is out.
func checkChange(ctx context.Context, f *Fixture) error {
	if f.Change == nil {
		return nil
	}
	var s source
	p := newPublisher(f.Sink)
	before := s.records(40, 20)
	if err := p.deliver(ctx, before); err != nil {
		return err
	}
	old := map[string]int{}
	for i := range before {
		old[before[i].Header.PartitionKey] = f.Sink.Lane(&before[i])
	}
	if err := f.Change(); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	// The sink may take a while to notice, and nobody waits for it to.
	all := before
	for p.opened == 0 {
		more := s.records(40, 5)
		all = append(all, more...)
		if err := p.deliver(ctx, more); err != nil {
			return fmt.Errorf("before the sink has told that its lanes changed: %w", err)
		}
	}
	moved := 0
	for i := range before {
		if f.Sink.Lane(&before[i]) != old[before[i].Header.PartitionKey] {
			moved++
		}
	}
	if moved == 0 {
		return errors.New("no record has another lane than before")
	}
	// The order of a key is seen only within a lane.
	got, err := f.Stored(ctx)
	if err != nil {
		return fmt.Errorf("read the broker back: %w", err)
	}
	return sameIDs("stored", got, ids(all))
}

func checkUnsure(ctx context.Context, f *Fixture) error {
	var s source
	before := s.records(1, 1)
	if err := newPublisher(f.Sink).deliver(ctx, before); err != nil {
		return err
	}
	answers := make(chan error, 1)
	old := s.records(1, 1)
	b := sink.NewBatch(f.Sink.Lane(&old[0]), old, func(_ *sink.Batch, err error) { answers <- err })
	b.FirstSent, b.Place = time.Now().Add(-48*time.Hour), f.Sink.Mark(nil)
	b.Out()
	f.Sink.Send(b)
	if err := wait(ctx, answers); !errors.Is(err, sink.ErrUnsure) {
		return fmt.Errorf("batch first sent two days ago: got %v, want ErrUnsure", err)
	}
	return stored(ctx, f, before)
}

func checkCloseWaits(ctx context.Context, f *Fixture) error {
	var s source
	before, open := s.records(1, 1), s.distinct(f, 20, 1)
	if err := newPublisher(f.Sink).deliver(ctx, before); err != nil {
		return err
	}
	f.Hold(true)
	batches, answers := sendEach(f, open)
	if err := holds(ctx, f, len(before)+len(open)); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- f.Sink.Close(ctx) }()
	select {
	case err := <-closed:
		return fmt.Errorf("Close returned %v while %d batches were out", err, len(batches))
	case <-time.After(50 * time.Millisecond):
	}
	f.Hold(false)
	if err := wait(ctx, closed); err != nil {
		return fmt.Errorf("Close: %w", err)
	}
	for i := range batches {
		select {
		case err := <-answers:
			if err != nil {
				return fmt.Errorf("answered batch: got %w", err)
			}
		default:
			return fmt.Errorf("Close returned with %d batches out", len(batches)-i)
		}
	}
	if err := f.Sink.Close(ctx); err != nil {
		return fmt.Errorf("second Close: %w", err)
	}
	_, answers = sendEach(f, s.records(1, 1))
	if err := wait(ctx, answers); err == nil {
		return errors.New("Send after Close: got success")
	}
	return stored(ctx, f, append(before, open...))
}

func checkCloseGivesUp(ctx context.Context, f *Fixture) error {
	var s source
	before := s.records(1, 1)
	if err := newPublisher(f.Sink).deliver(ctx, before); err != nil {
		return err
	}
	f.Hold(true)
	defer f.Hold(false)
	batches, answers := sendEach(f, s.distinct(f, 20, 1))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := f.Sink.Close(short); err == nil {
		return errors.New("Close gave up: got no error")
	}
	for i := range batches {
		select {
		case err := <-answers:
			if err == nil {
				return errors.New("got success for a batch whose answer was held")
			}
		default:
			return fmt.Errorf("Close returned with %d batches out", len(batches)-i)
		}
	}
	return ctx.Err()
}

// sendEach sends each record as a batch of its own; no two share a lane.
func sendEach(f *Fixture, records []spool.Record) ([]*sink.Batch, chan error) {
	answers := make(chan error, len(records))
	var batches []*sink.Batch
	for i := range records {
		b := sink.NewBatch(f.Sink.Lane(&records[i]), records[i:i+1], func(_ *sink.Batch, err error) { answers <- err })
		b.Out()
		f.Sink.Send(b)
		batches = append(batches, b)
	}
	return batches, answers
}

func wait(ctx context.Context, answers <-chan error) error {
	select {
	case err := <-answers:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
}

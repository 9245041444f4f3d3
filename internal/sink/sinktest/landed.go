package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// landed asks until the sink can answer: right after a cut it may not be connected.
func landed(ctx context.Context, f *Fixture, mark []byte) (found []string, err error) {
	err = until(ctx, func() error {
		found = nil
		return f.Sink.Landed(ctx, mark, func(id string) { found = append(found, id) })
	})
	return found, err
}

func checkLanded(ctx context.Context, f *Fixture) error {
	var s source
	before, after := s.records(20, 5), s.records(20, 10)
	p := newPublisher(f.Sink)
	if err := p.deliver(ctx, before); err != nil {
		return err
	}
	mark := f.Sink.Mark(nil)
	if mark == nil {
		return errors.New("Mark is nil although records were stored")
	}
	if err := p.deliver(ctx, after); err != nil {
		return err
	}
	if err := f.Sink.Landed(ctx, mark, nil); err != nil {
		return fmt.Errorf("asked only whether the log is there: %w", err)
	}
	for _, c := range []struct {
		what string
		mark []byte
		want []string
	}{
		{"landed after the first half", mark, ids(after)},
		{"landed after the newest mark", f.Sink.Mark(nil), nil},
		{"landed with a nil mark", nil, nil},
	} {
		found, err := landed(ctx, f, c.mark)
		if err == nil {
			err = sameIDs(c.what, found, c.want)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkLandedOpen loses the answers of some batches, has something newer stored, and asks for the lost ones.
func checkLandedOpen(ctx context.Context, f *Fixture) error {
	var s source
	before, open := s.records(20, 5), s.distinct(f, 20, 1)
	var later []spool.Record // in a lane that is not blocked, where there is one
	if n := len(open); n > 1 {
		open, later = open[:n-1], open[n-1:]
	}
	p := newPublisher(f.Sink)
	if err := p.deliver(ctx, before); err != nil {
		return err
	}
	f.Hold(true)
	batches, answers := sendEach(f, open)
	if err := holds(ctx, f, len(before)+len(open)); err != nil {
		return err
	}
	f.Cut()
	f.Hold(false)
	for range batches {
		if err := wait(ctx, answers); err == nil {
			return errors.New("got success for a batch whose answer was lost")
		} else if ctx.Err() != nil {
			return err
		}
	}
	if err := p.deliver(ctx, later); err != nil {
		return err
	}
	found, err := landed(ctx, f, f.Sink.Mark(batches))
	if err != nil {
		return err
	}
	// What is newer may be found too: where all lanes are one log, it lies behind the oldest open batch.
	found = slices.DeleteFunc(found, func(id string) bool { return slices.Contains(ids(later), id) })
	return sameIDs("landed after the oldest open batch", found, ids(open))
}

func checkLandedContext(ctx context.Context, f *Fixture) error {
	var s source
	p := newPublisher(f.Sink)
	if err := p.deliver(ctx, s.records(1, 1)); err != nil {
		return err
	}
	mark := f.Sink.Mark(nil)
	if err := p.deliver(ctx, s.records(20, 1)); err != nil {
		return err
	}
	f.Hold(true)
	defer f.Hold(false)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := f.Sink.Landed(short, mark, func(string) {}); err == nil {
		return errors.New("Landed succeeded although the broker could not answer")
	}
	return ctx.Err()
}

// checkRecreated replaces the log while somebody still has a mark of the old one: the loss is told, and what the new log holds is found all the same.
func checkRecreated(ctx context.Context, f *Fixture) error {
	var s source
	p := newPublisher(f.Sink)
	if err := p.deliver(ctx, s.records(10, 3)); err != nil {
		return err
	}
	mark := f.Sink.Mark(nil)
	if err := f.Recreate(); err != nil {
		return fmt.Errorf("re-create: %w", err)
	}
	if _, err := lost(ctx, f, mark); err != nil {
		return err
	}
	fresh, after := f.Sink.Mark(nil), s.records(10, 3)
	if err := p.deliver(ctx, after); err != nil {
		return fmt.Errorf("delivery to the new log: %w", err)
	}
	if err := stored(ctx, f, after); err != nil {
		return err
	}
	found, err := lost(ctx, f, mark)
	if err == nil {
		err = sameIDs("landed in the new log, after the old one's mark", found, ids(after))
	}
	if err != nil {
		return err
	}
	for _, m := range [][]byte{fresh, f.Sink.Mark(nil)} { // the new log's beginning
		found, err := landed(ctx, f, m)
		if err == nil {
			err = sameIDs("landed in the new log, after its first mark", found, ids(after))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lost asks until the sink tells that the log of the mark is lost, and returns what it finds with that.
func lost(ctx context.Context, f *Fixture, mark []byte) (found []string, err error) {
	err = until(ctx, func() error {
		found = nil
		err := f.Sink.Landed(ctx, mark, func(id string) { found = append(found, id) })
		switch {
		case err == nil:
			return errors.New("Landed found nothing amiss")
		case errors.Is(err, sink.ErrBrokerLost):
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("want ErrBrokerLost: %w", err)
	}
	if err := f.Sink.Landed(ctx, mark, nil); !errors.Is(err, sink.ErrBrokerLost) {
		return nil, fmt.Errorf("asked only whether the log is there: got %w, want ErrBrokerLost", err)
	}
	return found, nil
}

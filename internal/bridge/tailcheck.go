package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// doubt takes note that an earlier process may have sent the record. Nothing is sent until the broker was asked.
func (p *publisher) doubt(r *spool.Record) {
	p.unsure = true
	if d := event.DigestOf(r.Header.ID); p.unchecked[d] == 0 {
		p.unchecked[d] = r.Pos
	}
}

// check asks the broker which of the records sent and not confirmed it holds, by this process or an earlier one. Nothing is out. What it holds is
// delivered; the rest is not stored, so it may go again without fear of a repeat.
func (p *publisher) check(ctx context.Context) error {
	p.meters.checks.Inc()
	open := p.outstanding()
	slices.SortFunc(open, func(a, b *sink.Batch) int { return a.Lane - b.Lane }) // so that a run can be repeated
	found, err := p.landed(ctx, open)
	if err != nil {
		return err
	}
	p.unsure = false
	p.starting = p.starting && p.cursor.Replaying()
	p.ready = append(p.ready, p.waiting...)
	p.waiting = nil
	for id, pos := range found { // lanes that queue it will find it done
		p.cursor.Done(pos)
		delete(p.unchecked, id)
		p.unsaved = true
	}
	p.meters.published.Add(float64(len(found)))
	// By id: what was told again after a crash, in the same batch or behind it, is stored with what was told first.
	stored := func(r spool.Record) bool {
		_, is := found[event.DigestOf(r.Header.ID)]
		if is {
			p.cursor.Done(r.Pos)
		}
		return is
	}
	lanes := slices.SortedFunc(maps.Values(p.lanes), func(a, b *lane) int { return a.id - b.id }) // so that a run can be repeated
	for _, l := range lanes {
		l.fresh = slices.DeleteFunc(l.fresh, stored)
		p.held -= l.size
		l.size = dataSize(l.fresh)
		p.held += l.size
		if l.batch != nil { // also one that was formed anew and not sent yet: an earlier process may have sent its records
			p.reform(l, slices.DeleteFunc(slices.Clone(l.batch.Records), stored))
		}
	}
	return nil
}

// landed is what the broker holds of the open batches and of what is unchecked, also where a part of its log is lost. It takes as long as the broker answers: to
// give up would be to begin again. At a start it does not return before the mark, from which a later process would have to ask, is kept.
func (p *publisher) landed(ctx context.Context, open []*sink.Batch) (map[event.Digest]spool.Pos, error) {
	if p.unchecked == nil {
		p.unchecked = map[event.Digest]spool.Pos{}
	}
	asked := p.unchecked
	for _, b := range open {
		for i := range b.Records {
			asked[event.DigestOf(b.Records[i].Header.ID)] = b.Records[i].Pos
		}
	}
	found := map[event.Digest]spool.Pos{}
	mark := p.place()
	look := func(id string) {
		d := event.DigestOf(id)
		if pos, ours := asked[d]; ours {
			found[d] = pos
		}
	}
	if len(asked) == 0 {
		look = nil // others may have written much
	}
	err := p.sink.Landed(ctx, mark, look)
	lost := errors.Is(err, sink.ErrBrokerLost)
	switch {
	case lost:
		p.brokerLost(err)
	case err != nil:
		return nil, err
	}
	if p.starting && (lost || mark == nil) {
		mark = p.sink.Mark(nil)
		p.saves.Wait()
		if err := p.cursor.Save(mark); err != nil {
			return nil, fmt.Errorf("keep the first mark: %w", err)
		}
		p.mark = mark
	}
	return found, nil
}

package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// checkTimeout bounds one question to the broker: ids are read at some 100,000 a second, and meanwhile nothing is sent.
const checkTimeout = 2 * time.Minute

// check asks the broker which of the batches sent and not confirmed it holds. Nothing is out. What it holds is delivered; the rest is
// not stored, so it may go again without fear of a repeat.
func (p *publisher) check(ctx context.Context) {
	if p.now().Before(p.checkAt) {
		return
	}
	p.meters.checks.Inc()
	var open []*sink.Batch
	ids := map[string]bool{} // false until found
	for _, l := range p.lanes {
		if l.batch == nil || l.batch.FirstSent.IsZero() {
			continue
		}
		open = append(open, l.batch)
		for i := range l.batch.Records {
			ids[l.batch.Records[i].Header.ID] = false
		}
	}
	slices.SortFunc(open, func(a, b *sink.Batch) int { return a.Lane - b.Lane }) // so that a run can be repeated
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := p.sink.Landed(ctx, p.sink.Mark(open), func(id string) {
		if _, ours := ids[id]; ours {
			ids[id] = true
		}
	})
	switch {
	case errors.Is(err, sink.ErrBrokerLost):
		p.meters.brokerLost.Inc()
		p.logger.Error("the broker's log was re-created or cut: events it had confirmed are gone there", zap.String("sink", p.name), zap.Error(err))
	case err != nil:
		p.checkAt = p.now().Add(p.backoff.Next(-1, p.rand))
		p.logger.Warn("asking the broker what it holds failed, will ask again", zap.String("sink", p.name), zap.Error(err))
		return
	}
	p.backoff, p.unsure = retryCheck, false
	p.ready = append(p.ready, p.waiting...)
	p.waiting = nil
	for _, b := range open {
		l := p.lanes[b.Lane]
		var missing []spool.Record
		for i, r := range b.Records {
			if ids[r.Header.ID] {
				p.delivered(b.Records[i : i+1])
			} else {
				missing = append(missing, r)
			}
		}
		p.reform(l, missing)
	}
}

package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// keepEvery is how often the keeper looks whether the log wants room, checkpointEvery how often it keeps the views.
const (
	keepEvery       = time.Second
	checkpointEvery = 10 * time.Second
)

// keep does until ctx ends what may wait for the disk and concerns no session: it has a goroutine of its own.
func (b *Bridge) keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	kept, at, failed := b.heart.tells.Load(), b.heart.now(), false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		// First: nothing is to be skipped, and no intake refused, for want of room that a checkpoint makes.
		tells, now := b.heart.tells.Load(), b.heart.now()
		due := now.Sub(at) >= checkpointEvery && (tells != kept || failed)
		if due || !failed && b.heart.log.Overdue() { // one that failed is not hurried
			kept, at, failed = tells, now, !b.checkpoint()
		}
		if err := b.heart.log.Skip(b.fleet.announce); err != nil {
			b.heart.logger.Warn("making room in the log failed, will be tried again", zap.Error(err))
		}
	}
}

// checkpoint reports whether the views are kept as they are now, or newer.
func (b *Bridge) checkpoint() bool {
	err := b.heart.log.Checkpoint(b.fleet.save)
	if err != nil {
		b.heart.logger.Warn("keeping the views failed: a restart reads more of the log", zap.Error(err))
	}
	return err == nil
}

// announce tells everybody of whom a sink will not get something a gap of its own, opened and closed at once.
func (f *fleet) announce(skipped []spool.Skipped) error {
	for _, s := range skipped {
		if err := f.watcher(&s.Header).tellSkipped(s); err != nil {
			return err
		}
	}
	return nil
}

// watcher is the agent whose record it is; one who has gone since is made for the occasion.
func (f *fleet) watcher(h *event.Header) *agent {
	who := identity{h.Agent, h.Source}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.order {
		if !m.leaving && m.ID == who.id && m.URI == who.uri {
			return m.agent
		}
	}
	if a := f.recovered[who]; a != nil {
		return a
	}
	return newAgent(f.heart, mapping.NewView(source.Agent{ID: h.Agent, Provider: string(h.Provider), URI: h.Source, Account: h.Account}), nil)
}

func (a *agent) tellSkipped(s spool.Skipped) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := debt{feed: source.Live, from: s.From.Time(), cause: event.CauseSpoolFull, reason: "skipped", incarnation: a.newIncarnation()}
	gap := func() int { // that the log took the opening of, and not the end, in an attempt before
		return slices.IndexFunc(a.view.Gaps, func(g mapping.Gap) bool {
			return g.State == event.GapOpened && g.Cause == d.cause && g.From == s.From
		})
	}
	if gap() < 0 {
		a.metrics.gaps.WithLabelValues(string(d.cause)).Inc()
		if err := a.tellOpened(d); err != nil {
			return err
		}
	}
	return a.tellClosed(a.view.Gaps[gap()], s.To.Time(), received(d.incarnation), fmt.Sprintf("sink %s skipped %d events", s.Sink, s.Records))
}

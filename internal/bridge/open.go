package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// openTimeout bounds one attempt to open the sink: it may have to create what it writes to.
const openTimeout = time.Minute

// waits reports whether nothing may be sent.
func (p *publisher) waits() bool { return p.unsure || !p.opened }

// settle does the next thing that must be done before anything is sent, and reports whether that succeeded. Nothing is out. Lanes change only when it is
// known of every batch whether it was stored.
func (p *publisher) settle(ctx context.Context) bool {
	if p.now().Before(p.askAt) {
		return false
	}
	ask, doing := p.check, "asking the broker what it holds"
	if !p.opened && (!p.unsure || len(p.lanes) == 0) {
		ask, doing = p.open, "opening the sink"
	}
	if err := ask(ctx); err != nil {
		p.askAt = p.now().Add(p.backoff.Next(-1, p.rand))
		level := zap.DebugLevel
		if p.refused++; p.refused == 2 { // the first comes before the connection at every start; an outage is said once
			level = zap.WarnLevel
		}
		p.logger.Log(level, doing+" failed, will try again", zap.String("sink", p.name), zap.Error(err))
		return false
	}
	p.backoff, p.refused = retryCheck, 0
	return true
}

// open learns the sink's lanes, and puts what is held into them. Nothing is out, and no batch is in doubt.
func (p *publisher) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := p.sink.Open(ctx); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	p.limits = p.sink.Limits()
	if err := p.relane(); err != nil {
		return fmt.Errorf("read what the lanes held: %w", err)
	}
	p.opened = true
	return nil
}

// relane takes everything out of the lanes and puts it, in the order of the log, into those that the sink now says. What is not in hand any more is read
// again; when that fails, everything is as it was.
func (p *publisher) relane() error {
	var all []spool.Pos
	for _, l := range p.lanes {
		if l.batch != nil {
			all = appendPos(all, l.batch.Records)
		}
		all = append(appendPos(all, l.fresh), l.queue...)
	}
	slices.Sort(all)
	lanes, ready, waiting, queued, held := p.lanes, p.ready, p.waiting, p.queued, p.held
	p.lanes, p.ready, p.waiting, p.queued, p.held = map[int]*lane{}, nil, nil, 0, 0
	for asked := range slices.Chunk(all, fillRecords) {
		records, err := p.cursor.Read(asked)
		if err != nil {
			p.lanes, p.ready, p.waiting, p.queued, p.held = lanes, ready, waiting, queued, held
			return err
		}
		for i := range records {
			p.add(p.lane(p.sink.Lane(&records[i])), records, i)
		}
	}
	return nil
}

func appendPos(to []spool.Pos, records []spool.Record) []spool.Pos {
	for i := range records {
		to = append(to, records[i].Pos)
	}
	return to
}

package bridge

import (
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// setAside takes out of the lane's batch what the broker will never take; nothing of the batch was stored. When the broker did not say which
// record is to blame, the batch is halved until one is left.
func (p *publisher) setAside(l *lane, rejected *sink.Rejected) {
	records := l.batch.Records
	bad := map[spool.Pos]bool{}
	for _, pos := range rejected.Pos {
		bad[pos] = true
	}
	if len(records) == 1 {
		bad[records[0].Pos] = true
	}
	var rest []spool.Record
	for _, r := range records {
		if !bad[r.Pos] {
			rest = append(rest, r)
			continue
		}
		p.meters.rejected.Inc()
		p.logger.Error("event set aside: the broker will never take it", zap.String("sink", p.name), zap.String("id", r.Header.ID),
			zap.String("type", string(r.Header.Type)), zap.Int("bytes", len(r.Data)), zap.Error(rejected.Err))
		p.cursor.Done(r.Pos)
	}
	if len(rest) == len(records) {
		half := len(rest) / 2
		back := make([]spool.Pos, 0, len(rest)-half+len(l.queue))
		for _, r := range rest[half:] {
			back = append(back, r.Pos)
		}
		l.queue = append(back, l.queue...)
		p.queued += len(rest) - half
		rest = rest[:half]
	}
	p.reform(l, rest)
}

// reform replaces the lane's batch by a new one of records that are known not to be stored.
func (p *publisher) reform(l *lane, records []spool.Record) {
	if len(records) == 0 {
		p.clear(l)
		return
	}
	l.batch = sink.NewBatch(l.id, records, p.report)
	p.goOn(l)
}

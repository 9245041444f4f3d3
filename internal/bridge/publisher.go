package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// publisher takes one cursor's records through lanes to one sink. A lane is the unit of order: at most one batch of a lane is out, and a
// batch that failed goes again before anything newer of its lane. Lanes queue positions, not bytes, so one stuck lane cannot fill memory.
//
// All of it but report runs on one goroutine.
type publisher struct {
	*heart
	name   string
	cursor spool.Cursor
	sink   sink.Sink
	limits sink.Limits
	meters sinkMeters

	lanes   map[int]*lane // those with something queued, out or waiting for a retry
	ready   []*lane       // with something to send now, in the order in which they became so
	waiting []*lane       // for the time of their retry
	queued  int           // positions in all lanes
	out     int           // batches sent and not answered
	unsure  bool          // some batch may be stored unrecognised: nothing is sent until the broker was asked
	checkAt time.Time     // not to be asked before
	backoff retry.Backoff // of asking

	mu       sync.Mutex
	answers  []answer
	answered chan struct{}
	idle     chan struct{} // signalled whenever nothing is left to deliver
}

type lane struct {
	id      int
	queue   []spool.Pos
	batch   *sink.Batch    // out, or to be sent again
	fresh   []spool.Record // in hand from the log, not queued: spares reading them again
	out     bool
	listed  bool // in ready or waiting
	retryAt time.Time
	backoff retry.Backoff
}

type answer struct {
	batch *sink.Batch
	err   error
}

type sinkMeters struct {
	latency                                          prometheus.Observer
	published, retries, rejected, checks, brokerLost prometheus.Counter
	records, bytes, oldest                           prometheus.Gauge
}

const (
	maxQueued   = 1 << 20 // positions held in lanes: 8 MiB; beyond, the log holds them
	fillRecords = 1024    // read from the log at a time
)

// retryLane and retryCheck pace repeats. A lane that fails alone must not spin, and a broker that is back is to be noticed soon.
var (
	retryLane  = retry.Backoff{Base: 50 * time.Millisecond, Cap: 2 * time.Second}
	retryCheck = retry.Backoff{Base: 100 * time.Millisecond, Cap: 5 * time.Second}
)

func newPublisher(h *heart, name string, c spool.Cursor, s sink.Sink) *publisher {
	m := h.metrics
	return &publisher{
		heart: h, name: name, cursor: c, sink: s, limits: s.Limits(),
		meters: sinkMeters{
			latency: m.publishSeconds.WithLabelValues(name), published: m.published.WithLabelValues(name),
			retries: m.retries.WithLabelValues(name), rejected: m.rejected.WithLabelValues(name),
			checks: m.checks.WithLabelValues(name), brokerLost: m.brokerLost.WithLabelValues(name),
			records: m.records.WithLabelValues(name), bytes: m.bytes.WithLabelValues(name), oldest: m.oldest.WithLabelValues(name),
		},
		lanes: map[int]*lane{}, backoff: retryCheck,
		answered: make(chan struct{}, 1), idle: make(chan struct{}, 1),
	}
}

// run delivers until ctx ends.
func (p *publisher) run(ctx context.Context) {
	gauges := time.NewTicker(time.Second)
	defer gauges.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.cursor.Ready():
		case <-p.answered:
		case <-timer.C:
		case <-gauges.C:
			p.measure()
		case <-ctx.Done():
			return
		}
		wait := p.step(ctx)
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}

// step does all that can be done now, and returns after how long there is more to do without a signal; 0: nothing.
func (p *publisher) step(ctx context.Context) time.Duration {
	p.collect()
	p.wake()
	if p.unsure && p.out == 0 {
		p.check(ctx)
	}
	p.send()
	for p.fill() {
		p.send()
	}
	if len(p.lanes) == 0 {
		select {
		case p.idle <- struct{}{}:
		default:
		}
	}
	return p.next()
}

// fill takes new records from the log into their lanes, and reports whether there may be more.
func (p *publisher) fill() bool {
	room := min(fillRecords, maxQueued-p.queued)
	if room <= 0 || p.unsure || p.out >= p.limits.InFlight {
		return false
	}
	records, err := p.cursor.Next(room)
	if err != nil {
		p.zap.Error("reading the log failed", zap.String("sink", p.name), zap.Error(err))
		return false
	}
	for i := range records {
		r := &records[i]
		l := p.lane(p.sink.Lane(r))
		if l.batch == nil && len(l.queue) == 0 && p.fits(l.fresh, r) {
			l.fresh = append(l.fresh, *r)
			p.list(l)
			continue
		}
		l.queue = append(l.queue, r.Pos)
		p.queued++
	}
	return len(records) == room
}

func (p *publisher) lane(id int) *lane {
	l := p.lanes[id]
	if l == nil {
		l = &lane{id: id, backoff: retryLane}
		p.lanes[id] = l
	}
	return l
}

// fits reports whether r may join the batch.
func (p *publisher) fits(batch []spool.Record, r *spool.Record) bool {
	size := len(r.Data)
	for i := range batch {
		size += len(batch[i].Data)
	}
	return len(batch) == 0 || len(batch) < p.limits.Records && size <= p.limits.Bytes
}

func (p *publisher) list(l *lane) {
	if !l.listed {
		l.listed = true
		p.ready = append(p.ready, l)
	}
}

// send sends for the lanes that are ready, as far as the sink's limit on batches out reaches.
func (p *publisher) send() {
	for len(p.ready) > 0 && !p.unsure && p.out < p.limits.InFlight {
		l := p.ready[0]
		p.ready = p.ready[1:]
		l.listed = false
		if l.empty() { // a check found its batch stored while it waited for a retry
			delete(p.lanes, l.id)
			continue
		}
		if l.batch == nil {
			records, err := p.take(l)
			if err != nil {
				p.zap.Error("reading the log failed", zap.String("sink", p.name), zap.Error(err))
				p.retryLater(l, 0)
				continue
			}
			l.batch = sink.NewBatch(l.id, records, p.report)
		}
		l.out = true
		p.out++
		l.batch.Out()
		p.sink.Send(l.batch)
	}
	if len(p.ready) == 0 {
		p.ready = nil // gives back what a burst grew
	}
}

// take is the next batch's records: those in hand, or the head of the queue read again.
func (p *publisher) take(l *lane) ([]spool.Record, error) {
	if len(l.fresh) > 0 {
		records := l.fresh
		l.fresh = nil
		return records, nil
	}
	records, err := p.cursor.Read(l.queue[:min(len(l.queue), p.limits.Records)])
	if err != nil {
		return nil, err
	}
	n := 1
	for n < len(records) && p.fits(records[:n], &records[n]) {
		n++
	}
	l.queue = l.queue[n:]
	p.queued -= n
	return records[:n], nil
}

// report is what Batch.Done calls, on any goroutine, also inside Send.
func (p *publisher) report(b *sink.Batch, err error) {
	p.mu.Lock()
	p.answers = append(p.answers, answer{b, err})
	p.mu.Unlock()
	select {
	case p.answered <- struct{}{}:
	default:
	}
}

// collect takes note of every answer that has come.
func (p *publisher) collect() {
	p.mu.Lock()
	answers := p.answers
	p.answers = nil
	p.mu.Unlock()
	for _, a := range answers {
		l := p.lanes[a.batch.Lane]
		l.out = false
		p.out--
		var rejected *sink.Rejected
		switch {
		case a.err == nil:
			p.delivered(a.batch.Records)
			p.clear(l)
		case errors.As(a.err, &rejected):
			p.setAside(l, rejected)
		case errors.Is(a.err, sink.ErrUnsure):
			p.unsure = true
			p.retryLater(l, 0)
		default:
			p.meters.retries.Inc()
			p.zap.Debug("publish failed, will be sent again", zap.String("sink", p.name), zap.Error(a.err))
			p.retryLater(l, retry.Delay(a.err))
		}
	}
}

// delivered takes note that the broker holds the records.
func (p *publisher) delivered(records []spool.Record) {
	now := event.InstantOf(p.now())
	for i := range records {
		p.cursor.Done(records[i].Pos)
		p.meters.latency.Observe(float64(now-records[i].Header.Recorded) / 1000)
	}
	p.meters.published.Add(float64(len(records)))
}

// clear ends the lane's batch and lets the lane go on.
func (p *publisher) clear(l *lane) {
	l.batch = nil
	l.backoff = retryLane
	p.goOn(l)
}

func (p *publisher) goOn(l *lane) {
	if l.empty() && !l.listed {
		delete(p.lanes, l.id)
		return
	}
	p.list(l)
}

func (l *lane) empty() bool { return l.batch == nil && len(l.queue) == 0 && len(l.fresh) == 0 }

// retryLater keeps the lane's batch as it is, to be sent again first.
func (p *publisher) retryLater(l *lane, atLeast time.Duration) {
	l.retryAt = p.now().Add(max(atLeast, l.backoff.Next(-1, p.rand)))
	if !l.listed {
		l.listed = true
		p.waiting = append(p.waiting, l)
	}
}

// wake lists the lanes whose retry is due.
func (p *publisher) wake() {
	now := p.now()
	rest := p.waiting[:0]
	for _, l := range p.waiting {
		if now.Before(l.retryAt) {
			rest = append(rest, l)
			continue
		}
		p.ready = append(p.ready, l)
	}
	p.waiting = rest
}

// next is the time until something is due without a signal.
func (p *publisher) next() time.Duration {
	now := p.now()
	var wait time.Duration
	soonest := func(at time.Time) {
		if d := max(at.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	for _, l := range p.waiting {
		soonest(l.retryAt)
	}
	if p.unsure && p.out == 0 {
		soonest(p.checkAt)
	}
	return wait
}

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
		p.zap.Error("event set aside: the broker will never take it", zap.String("sink", p.name), zap.String("id", r.Header.ID),
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
	err := p.sink.Landed(ctx, p.sink.Mark(open), func(id string) {
		if _, ours := ids[id]; ours {
			ids[id] = true
		}
	})
	switch {
	case errors.Is(err, sink.ErrBrokerLost):
		p.meters.brokerLost.Inc()
		p.zap.Error("the broker's log was re-created or cut: events it had confirmed are gone there", zap.String("sink", p.name), zap.Error(err))
	case err != nil:
		p.checkAt = p.now().Add(p.backoff.Next(-1, p.rand))
		p.zap.Warn("asking the broker what it holds failed, will ask again", zap.String("sink", p.name), zap.Error(err))
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

// drained returns when nothing is left to deliver, or with what is left when ctx ends.
func (p *publisher) drained(ctx context.Context) error {
	for {
		records, _, _ := p.cursor.Pending()
		if records == 0 {
			return nil
		}
		select {
		case <-p.idle:
		case <-ctx.Done():
			return fmt.Errorf("sink %s: stopped with %d events not confirmed by the broker: they are lost with this log", p.name, records)
		}
	}
}

func (p *publisher) status() SinkStatus {
	records, bytes, oldest := p.cursor.Pending()
	return SinkStatus{Unconfirmed: records, Bytes: bytes, Oldest: oldest}
}

func (p *publisher) measure() {
	s := p.status()
	p.meters.records.Set(float64(s.Unconfirmed))
	p.meters.bytes.Set(float64(s.Bytes))
	age := 0.0
	if s.Oldest != 0 {
		age = float64(event.InstantOf(p.now())-s.Oldest) / 1000
	}
	p.meters.oldest.Set(age)
}

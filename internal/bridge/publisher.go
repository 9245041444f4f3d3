package bridge

import (
	"context"
	"errors"
	"fmt"
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
// All of it but report and watch runs on one goroutine.
type publisher struct {
	*heart
	name   string
	cursor spool.Cursor
	sink   sink.Sink
	limits sink.Limits
	meters sinkMeters

	lanes   map[int]*lane // those with something queued, out or waiting for a retry
	ready   []*lane       // with something to send now, in the order in which they became so
	waiting retries       // for the time of their retry
	queued  int           // positions in all lanes
	held    int           // bytes of data in hand, in all lanes
	holds   int           // the most of them
	out     int           // batches sent and not answered
	batches []sink.Batch  // not used yet
	opened  bool          // the sink's lanes are known
	unsure  bool          // something may be stored unrecognised: nothing is sent until the broker was asked
	askAt   time.Time     // not to be asked before, whatever it is
	refused int           // times in a row that asking has failed
	backoff retry.Backoff // of asking

	// What an earlier process left is taken in windows: as many records as the lanes may hold are read, the broker is asked which of them it holds, and
	// the rest is sent until half of them are gone.
	starting bool // not all of it was asked about yet
	window   int  // how many positions the lanes may hold
	// unchecked is what the broker is asked about, until it is delivered, whenever it is asked: what a dead process had under way may land after a
	// question, and be forgotten as a repeat before a stuck lane comes to it.
	unchecked map[event.Digest]spool.Pos
	mark      []byte // that was loaded; of no use once the start is over

	unsaved    bool // something is done and not saved
	savedAt    time.Time
	background func(func())             // runs a save beside the publisher's goroutine
	reporter   func(*sink.Batch, error) // report: a method value is allocated
	saves      sync.WaitGroup

	mu       sync.Mutex
	saving   bool
	failed   bool // the last save
	answers  []answer
	lostAt   time.Time // when the broker was last found to have lost what it had confirmed
	answered chan struct{}
	idle     chan struct{} // signalled whenever nothing is left to deliver
}

type answer struct {
	batch *sink.Batch
	err   error
}

type sinkMeters struct {
	latency                                          prometheus.Observer
	published, retries, rejected, checks, brokerLost prometheus.Counter
	records, bytes, oldest, inFlight, lanes          prometheus.Gauge
}

const (
	maxQueued   = 1 << 20 // positions held in lanes: 8 MiB, at a start with digests of ids some 60 MiB; beyond, the log holds them
	fillRecords = 1024    // read from the log at a time
)

// retryLane and retryCheck pace repeats. A lane that fails alone must not spin, and a broker that is back is to be noticed soon.
var (
	retryLane  = retry.Backoff{Base: 50 * time.Millisecond, Cap: 2 * time.Second}
	retryCheck = retry.Backoff{Base: 100 * time.Millisecond, Cap: 5 * time.Second}
)

func newPublisher(h *heart, name string, c spool.Cursor, s sink.Sink) *publisher {
	m := h.metrics
	p := &publisher{
		heart: h, name: name, cursor: c, sink: s, limits: s.Limits(),
		meters: sinkMeters{
			latency: m.publishSeconds.WithLabelValues(name), published: m.published.WithLabelValues(name),
			retries: m.retries.WithLabelValues(name), rejected: m.rejected.WithLabelValues(name),
			checks: m.checks.WithLabelValues(name), brokerLost: m.brokerLost.WithLabelValues(name),
			records: m.records.WithLabelValues(name), bytes: m.bytes.WithLabelValues(name), oldest: m.oldest.WithLabelValues(name),
			inFlight: m.inFlight.WithLabelValues(name), lanes: m.lanes.WithLabelValues(name),
		},
		lanes: map[int]*lane{}, backoff: retryCheck,
		unsure: true, starting: true, window: maxQueued, holds: maxHeld, unchecked: map[event.Digest]spool.Pos{}, mark: c.Mark(),
		answered: make(chan struct{}, 1), idle: make(chan struct{}, 1),
	}
	p.background, p.reporter = p.saves.Go, p.report
	return p
}

// run delivers until ctx ends.
func (p *publisher) run(ctx context.Context) {
	var watch sync.WaitGroup
	watch.Go(func() { p.watch(ctx) })
	defer watch.Wait()
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

// watch keeps the gauges of what waits. It has a goroutine of its own, because to ask the broker what landed may take long.
func (p *publisher) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.measureBacklog()
		case <-ctx.Done():
			return
		}
	}
}

// step does all that can be done now, and returns after how long there is more to do without a signal; 0: nothing.
func (p *publisher) step(ctx context.Context) time.Duration {
	p.collect()
	p.wake()
	p.drive()
	for p.waits() && p.out == 0 && p.settle(ctx) {
		p.drive()
	}
	p.save()
	if len(p.lanes) == 0 {
		if !p.starting {
			p.unchecked = nil // gives back what a window grew, and what was set aside
		}
		select {
		case p.idle <- struct{}{}:
		default:
		}
	}
	return p.next()
}

// drive sends what can be sent, and takes more from the log as long as there is room for it.
func (p *publisher) drive() {
	p.send()
	for p.fill() {
		p.send()
	}
	p.send()
}

// fill takes new records from the log into their lanes, and reports whether there may be more.
func (p *publisher) fill() bool {
	room := min(fillRecords, p.window-p.queued)
	switch {
	case room <= 0, !p.opened:
		return false
	case p.starting:
		if !p.unsure && p.queued > p.window/2 {
			return false
		}
	case p.unsure, p.out >= p.limits.InFlight:
		return false
	case p.held >= p.holds && p.out > p.limits.InFlight/8: // busy enough; else what is in hand is of a few lanes that are stuck
		return false
	}
	records, err := p.cursor.Next(room)
	if err != nil {
		p.logger.Error("reading the log failed", zap.String("sink", p.name), zap.Error(err))
		return false
	}
	for i := range records {
		r := &records[i]
		p.add(p.lane(p.sink.Lane(r)), records, i)
		if p.starting {
			p.doubt(r)
		}
	}
	return len(records) == room
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
	p.unsaved = p.unsaved || len(answers) > 0
	var refused []refusal
	for _, a := range answers {
		l := p.lanes[a.batch.Lane]
		p.out--
		if a.err == nil {
			p.delivered(a.batch.Records)
			p.clear(l)
			continue
		}
		if l.trials.failed == 0 {
			l.settle()
		}
		l.trials.fail(a.err, p.now())
		var rejected *sink.Rejected
		switch {
		case errors.As(a.err, &rejected):
			refused = append(refused, refusal{l, rejected})
		case errors.Is(a.err, sink.ErrUnsure):
			p.unsure = true
			p.retryLater(l, 0)
		case errors.Is(a.err, sink.ErrBrokerLost):
			p.brokerLost(a.err)
			p.retryLater(l, 0)
		case errors.Is(a.err, sink.ErrLanes):
			p.logger.Info("the broker's lanes have changed", zap.String("sink", p.name), zap.Error(a.err))
			p.opened, p.unsure = false, true
			p.retryLater(l, 0)
		default:
			p.meters.retries.Inc()
			p.logger.Debug("publish failed, will be sent again", zap.String("sink", p.name), zap.Error(a.err))
			p.retryLater(l, retry.Delay(a.err))
		}
	}
	p.setAside(refused)
}

// delivered takes note that the broker holds the records.
func (p *publisher) delivered(records []spool.Record) {
	now := event.InstantOf(p.now())
	for i := range records {
		p.cursor.Done(records[i].Pos)
		if len(p.unchecked) > 0 {
			delete(p.unchecked, event.DigestOf(records[i].Header.ID))
		}
		p.meters.latency.Observe(float64(now-records[i].Header.Recorded) / 1000)
	}
	p.meters.published.Add(float64(len(records)))
}

// brokerLost raises the alarm: events that consumers were to find on the broker are gone there. They are gone here too.
func (p *publisher) brokerLost(err error) {
	p.meters.brokerLost.Inc()
	p.logger.Error("the broker's log was re-created or cut: events it had confirmed are gone there", zap.String("sink", p.name), zap.Error(err))
	p.mu.Lock()
	p.lostAt = p.now()
	p.mu.Unlock()
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
			return fmt.Errorf("sink %s: stopped with %d events not confirmed by the broker", p.name, records)
		}
	}
}

func (p *publisher) status() SinkStatus {
	records, bytes, oldest := p.cursor.Pending()
	p.mu.Lock()
	defer p.mu.Unlock()
	return SinkStatus{Unconfirmed: records, Bytes: bytes, Oldest: oldest, LostAt: p.lostAt}
}

// measure runs on the publisher's goroutine: it reads what is that goroutine's own.
func (p *publisher) measure() {
	p.meters.inFlight.Set(float64(p.out))
	p.meters.lanes.Set(float64(len(p.lanes)))
}

func (p *publisher) measureBacklog() {
	s := p.status()
	p.meters.records.Set(float64(s.Unconfirmed))
	p.meters.bytes.Set(float64(s.Bytes))
	age := 0.0
	if s.Oldest != 0 {
		age = float64(event.InstantOf(p.now())-s.Oldest) / 1000
	}
	p.meters.oldest.Set(age)
}

// Package bridge is the heart: it shows the whole life of an event.
//
//	roster ─► fleet ─► session ─► intake ─► mapping ─► log ─► publisher ─► sink
//
// The fleet keeps one session per agent alive (fleet.go). What a session receives comes in through its Intake (intake.go), is mapped in the
// light of the agent's view, appended to the log and only then applied to the view (agent.go). Stretches in which nothing was
// provably received become gap records (gap.go). One publisher per sink takes the log's records through lanes to the broker
// (publisher.go). The package owns every goroutine but those inside a source or a sink: one per session, one fleet loop, one per publisher.
//
// Fleet, agents and publisher are passive: they act when they are called and ask the given clock, so that a seeded, single-threaded
// simulation drives the very same code (simulation_test.go).
package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Options are the bridge's own settings; zero values take the defaults named here.
type Options struct {
	// BridgeID names this bridge in every event; required. Two bridges must not share one while both run.
	BridgeID string
	// PartitionByAgent makes the agent the partition key of every event: a total order per agent instead of per task chain.
	PartitionByAgent bool
	// DialRate is the dial budget of the process: how many sessions the vendor may see begin within any second; default 50. Dials are paced below
	// that, first ones and reconnects alike: from 8 on any second leaves a twentieth of it; a lower one that is no whole number is rounded up.
	DialRate float64
	// Silence is how long a feed may deliver neither frame nor beat before its session is replaced; default 30 s.
	Silence time.Duration
	// Backoff bounds the wait between dials of one agent; default 1 s doubling to 30 s, forgotten after 60 s of health.
	Backoff retry.Backoff
	// RefusedRetry is about how often a refused agent is tried again; default 5 min.
	RefusedRetry time.Duration
	// Drain is how long a stopping bridge tries to deliver what the log holds. 0, where the log survives the process: not at all, the next one does, and
	// everything is closed within 2 s.
	Drain time.Duration
	// Cursors say, by sink, what of the log a sink gets; a sink that is missing gets everything.
	Cursors map[string]spool.CursorOptions

	now  func() time.Time
	rand func() float64
	// proven is how long after a successor's start the old session must have delivered something before it is let go, and how long after a
	// snapshot a session must have, before what the snapshot lacks is called ended: what was sent before then has then arrived. 1 s.
	proven time.Duration
}

func (o *Options) setDefaults() error {
	if o.BridgeID == "" {
		return errors.New("bridge: BridgeID is required")
	}
	def(&o.DialRate, 50)
	def(&o.Silence, 30*time.Second)
	def(&o.RefusedRetry, 5*time.Minute)
	def(&o.Backoff.Base, time.Second)
	def(&o.Backoff.Cap, 30*time.Second)
	def(&o.Backoff.Healthy, time.Minute)
	def(&o.proven, time.Second)
	if o.now == nil {
		o.now = time.Now
	}
	if o.rand == nil {
		o.rand = retry.Jitter
	}
	return nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Feed is one configured source with the mapper of its dialect.
type Feed struct {
	Source source.Source
	Mapper mapping.Mapper
}

// Bridge joins sources, log and sinks. Make it with [New], then [Bridge.Run] it once.
type Bridge struct {
	heart      *heart
	fleet      *fleet
	publishers []*publisher
}

// heart is what every agent of the process shares.
type heart struct {
	Options
	log      spool.Log
	letters  DeadLetters
	logger   *zap.Logger
	metrics  *Metrics
	shared   toldOnce
	proof    proof
	started  time.Time
	tells    atomic.Int64 // events appended
	sessions atomic.Int64 // incarnations made
	unmapped atomic.Int64 // bridge.unmapped events told: never twice the same number, also after an agent has come back
	encoded  sync.Pool    // of *event.Encoded: an idle agent holds none
}

// New makes a bridge of what an earlier one left in the log, if there was one: it begins with the gaps that the other's crash made. sources and sinks are by
// configured name; log and letters outlive the bridge and are closed by the caller.
func New(o Options, sources map[string]Feed, log spool.Log, sinks map[string]sink.Sink, letters DeadLetters, zl *zap.Logger, reg prometheus.Registerer) (*Bridge, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	h := &heart{Options: o, log: log, letters: letters, logger: zl, metrics: newMetrics(reg), started: o.now()}
	h.encoded.New = func() any { return new(event.Encoded) }
	b := &Bridge{heart: h, fleet: newFleet(h, sources)}
	for name, s := range sinks {
		cursor, err := log.Cursor(name, o.Cursors[name])
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		b.publishers = append(b.publishers, newPublisher(h, name, cursor, s))
	}
	if err := b.fleet.recover(); err != nil {
		return nil, err
	}
	return b, nil
}

// SetRoster says who the agents of each source are from now on, by its configured name; a source that is missing has no known roster yet, and its agents
// stay as they are. Sessions are started and ended only for those who came and went, since the last call or an earlier process. Safe for concurrent
// use, before and during Run; after an error nothing has changed: a source that is not configured, an agent who is there twice.
func (b *Bridge) SetRoster(rosters map[string][]source.Agent) error {
	return b.fleet.setRoster(rosters)
}

// Run holds the sessions and delivers until ctx ends, then stops in order: sessions end and their planned gaps are told; what the log holds is delivered
// within Options.Drain; sinks are closed; cursors and views are saved. The error says what was left undelivered by a bridge that was to drain, and
// what could not be saved.
func (b *Bridge) Run(ctx context.Context) error {
	// Publishers outlive the sessions: what these tell at the end is still to be delivered.
	pubCtx, stopPublishers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishers()
	var wg sync.WaitGroup
	for _, p := range b.publishers {
		wg.Go(func() { p.run(pubCtx) })
	}
	wg.Go(func() { b.keep(pubCtx) })
	b.fleet.run(ctx)

	budget := closeTimeout
	var errs []error
	if b.heart.Drain > 0 {
		drainCtx, cancel := context.WithTimeout(pubCtx, b.heart.Drain)
		defer cancel()
		b.fleet.settleAll(drainCtx)
		b.sync(drainCtx)
		for _, p := range b.publishers {
			errs = append(errs, p.drained(drainCtx))
		}
	} else {
		budget = fastTimeout
		settleCtx, cancel := context.WithTimeout(pubCtx, budget/4)
		defer cancel()
		b.fleet.settleAll(settleCtx)
	}
	stopPublishers()
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		wg.Wait()
		ended <- b.close(closeCtx, budget/2)
	}()
	select {
	case err := <-ended:
		errs = append(errs, err)
	case <-closeCtx.Done(): // a disk that hangs holds nobody: what it did not save is read, and asked of the broker, again
		errs = append(errs, errors.New("the log did not save cursors and views in time"))
	}
	return errors.Join(errs...)
}

// sync waits until the publishers can see what was told last, or ctx ends. What a disk that fails has not taken is told by the end of the log.
func (b *Bridge) sync(ctx context.Context) {
	durable := make(chan struct{})
	go func() {
		defer close(durable)
		_ = b.heart.log.Sync()
	}()
	select {
	case <-durable:
	case <-ctx.Done():
	}
}

// close gives the sinks that long, and saves what is done and told.
func (b *Bridge) close(ctx context.Context, sinks time.Duration) error {
	sinksCtx, cancel := context.WithTimeout(ctx, sinks)
	defer cancel()
	var errs []error
	for _, p := range b.publishers {
		switch err := p.sink.Close(sinksCtx); {
		case errors.Is(err, context.DeadlineExceeded): // the log has what was under way; a bridge that was to drain says so itself
			b.heart.logger.Warn("the broker did not answer in time: the next start asks it what it holds", zap.String("sink", p.name), zap.Error(err))
		case err != nil:
			errs = append(errs, fmt.Errorf("sink %s: close: %w", p.name, err))
		}
		if err := p.finish(); err != nil {
			errs = append(errs, fmt.Errorf("sink %s: save: %w", p.name, err))
		}
	}
	b.checkpoint()
	return errors.Join(errs...)
}

// closeTimeout bounds the closing of sinks that have nothing left to deliver, or were given up, and the saving; fastTimeout is that of a bridge that
// does not drain: with the end of the sessions before it, and the closing of the log after it, it makes 2 s.
const (
	closeTimeout = 5 * time.Second
	fastTimeout  = 1500 * time.Millisecond
)

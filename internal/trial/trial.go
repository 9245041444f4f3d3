// Package trial runs everything on one machine: a simulated vendor, the bridge with its real source over real sockets, an embedded
// nats-server with file storage, a consumer that shares nothing with the bridge but the wire, and the judge. It is the demo, and the stage
// of the end-to-end tests.
package trial

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/ledger"
	"github.com/taskbridge/taskbridge/internal/mapping"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Options of a trial. Time-outs that last half a minute in production are seconds here, so that a short run shows what they do.
type Options struct {
	Dir           string        // for the broker's files; required
	Agents        int           // default 50
	Rate          float64       // events per second over all agents, default 200
	Duration      time.Duration // of the judged part, counted from when every session is live; default 20 s
	Faults        bool          // disturb sockets and broker on the way, see [Trial.Run]
	Seed          uint64        // of the simulated workspace; default 1
	TokenLifetime time.Duration // default 10 s: every session is renewed while it is watched
	Heartbeat     time.Duration // of the simulated vendor, default 500 ms
	Silence       time.Duration // limit, default 3 s
	DialRate      float64       // sessions per second, default 100
	Host          string        // by which the bridge looks the simulated vendor up; default: its address, which needs no lookup

	// tamper stands between publisher and broker, for the negative controls of the tests.
	tamper func(s sink.Sink, url string) (sink.Sink, error)
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Duration, 20 * time.Second}, {&o.TokenLifetime, 10 * time.Second}, {&o.Heartbeat, 500 * time.Millisecond}, {&o.Silence, 3 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Agents == 0 {
		o.Agents = 50
	}
	if o.Rate == 0 {
		o.Rate = 200
	}
	if o.DialRate == 0 {
		o.DialRate = 100
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
}

// Trial is one run under way. Make it with [Start] and end it with [Trial.Stop]. Safe for concurrent use.
type Trial struct {
	o         Options
	log       *zap.Logger
	simulator *simulator.Simulator
	feed      taskrouter.Config
	judge     *ledger.Judge
	consumer  *consumer

	mu      sync.Mutex
	broker  *embedded.Server
	roster  []source.Agent
	letters *deadletter.Store
	bridge  *bridge.Bridge
	stop    context.CancelFunc // of the bridge
	done    chan error         // of the bridge

	background sync.WaitGroup
	end        context.CancelFunc // of everything else
}

// Start brings everything up; the workload runs from the beginning. The caller ends the trial whether or not it succeeds later.
func Start(ctx context.Context, o Options, log *zap.Logger) (*Trial, error) {
	o.setDefaults()
	t := &Trial{o: o, log: log, judge: ledger.NewJudge(ledger.Bounds{
		Rate: o.Rate, Duration: o.Duration, Sessions: o.Agents, SilenceLimit: o.Silence, DialBudget: o.DialRate,
	})}
	var err error
	t.simulator, err = simulator.New(simulator.Options{Workers: o.Agents, Rate: o.Rate, Seed: o.Seed, Heartbeat: o.Heartbeat}, log.Named("simulator"))
	if err != nil {
		return nil, err
	}
	ctx, t.end = context.WithCancel(context.WithoutCancel(ctx))
	t.background.Go(func() {
		if err := t.simulator.Run(ctx); err != nil {
			log.Error("simulator failed", zap.Error(err))
		}
	})
	r := t.simulator.Ready()
	t.feed.SetDefaults()
	t.feed.Account, t.feed.Workspace, t.feed.APIKey, t.feed.APISecret = r.Account, r.Workspace, r.APIKey, config.NewSecret(r.APISecret)
	t.feed.EventBridgeURL, t.feed.TokenLifetime = r.EventBridgeURL, config.Duration(o.TokenLifetime)
	if o.Host != "" {
		t.feed.EventBridgeURL = strings.Replace(r.EventBridgeURL, "127.0.0.1", o.Host, 1)
	}
	for _, w := range r.Workers {
		t.roster = append(t.roster, t.agent(w))
	}
	if t.broker, err = embedded.Start(filepath.Join(o.Dir, "nats"), 0, log.Named("nats")); err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	if t.letters, err = deadletter.Open(deadletter.Options{Dir: filepath.Join(o.Dir, deadletter.Dir), Log: log.Named("deadletters")}); err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	if err := t.StartBridge(ctx); err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	t.consumer = newConsumer(t.broker.URL(), t.judge, log.Named("consumer"))
	t.background.Go(func() { t.consumer.run(ctx) })
	return t, nil
}

const (
	stream     = "FACTS"
	sourceName = "demo"
)

func (t *Trial) agent(id string) source.Agent {
	a := t.feed.Agent(id)
	a.Source = sourceName
	return a
}

// StartBridge starts a bridge; again after [Trial.StopBridge], as a new process would be.
func (t *Trial) StartBridge(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	src, err := taskrouter.New(t.feed, t.log.Named("taskrouter"), nil)
	if err != nil {
		return err
	}
	policy, err := mapping.NewPolicy(mapping.PrivacyConfig{}, nil)
	if err != nil {
		return err
	}
	var nats jetstream.Config
	nats.SetDefaults()
	nats.URL, nats.Stream = t.broker.URL(), stream
	js, err := jetstream.New(nats, t.log.Named("jetstream"), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	var out sink.Sink = js
	if t.o.tamper != nil {
		if out, err = t.o.tamper(js, nats.URL); err != nil {
			return err
		}
	}
	accepted, err := spool.Open(spool.Options{Dir: filepath.Join(t.o.Dir, "spool"), Log: t.log.Named("spool")})
	if err != nil {
		return err
	}
	t.bridge, err = bridge.New(
		bridge.Options{BridgeID: "trial", DialRate: t.o.DialRate, Silence: t.o.Silence},
		map[string]bridge.Feed{sourceName: {Source: src, Mapper: mapping.NewTaskRouter(policy)}},
		accepted, map[string]sink.Sink{stream: out}, t.letters, t.log.Named("bridge"), prometheus.NewRegistry())
	if err == nil {
		err = t.bridge.SetRoster(map[string][]source.Agent{sourceName: t.roster})
	}
	if err != nil {
		return errors.Join(err, accepted.Close())
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	js.Connect(ctx)
	running, done := t.bridge, make(chan error, 1)
	t.stop, t.done = cancel, done
	t.background.Go(func() { done <- errors.Join(running.Run(ctx), accepted.Close()) })
	return nil
}

// StopBridge ends the bridge in order, as a first signal would, and returns what it says.
func (t *Trial) StopBridge() error {
	t.mu.Lock()
	stop, done := t.stop, t.done
	t.stop = nil
	t.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	return <-done
}

// Ready returns when every agent of the roster has a live session, or when ctx ends. The judged part begins then.
func (t *Trial) Ready(ctx context.Context) error {
	for {
		p := t.Progress()
		if p.Live == p.Agents {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d sessions became live: %w", p.Live, p.Agents, ctx.Err())
		case <-time.After(poll):
		}
	}
}

// poll is how often a condition is looked at.
const poll = 50 * time.Millisecond

// RestartBroker stops the nats-server and starts it again on the same port with the same files.
func (t *Trial) RestartBroker() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	port := t.broker.Port()
	t.broker.Shutdown()
	var err error
	t.broker, err = embedded.Start(filepath.Join(t.o.Dir, "nats"), port, t.log.Named("nats"))
	return err
}

// Disturb injects a fault into the simulated vendor and tells the judge of it. lasted is how long it keeps sessions from receiving.
func (t *Trial) Disturb(f simulator.Fault, lasted time.Duration) error {
	t.judge.Fault(ledger.Fault{Sessions: len(f.Workers), Lasted: lasted})
	return t.simulator.Inject(f)
}

// Verdict ends the workload, waits until everything that was told has landed or has had ample time to, and judges.
func (t *Trial) Verdict(ctx context.Context) (ledger.Verdict, error) {
	t.simulator.StopWorkload()
	end := time.Now()
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		t.readLedger()
		v := t.judge.Verdict(end)
		if v.Missing == 0 && t.Progress().Unconfirmed == 0 {
			return v, v.Err()
		}
		select {
		case <-ctx.Done():
			return v, v.Err()
		case <-time.After(4 * poll):
		}
	}
}

// settle is how long what was told may take to land: longer than any time-out of the trial.
const settle = 20 * time.Second

func (t *Trial) readLedger() {
	for _, e := range t.simulator.Ledger() {
		t.judge.Emit(ledger.Entry(e))
	}
}

// Stop ends the trial and returns when nothing of it runs any more. The error is the bridge's, or says that the simulated vendor saw it do more than
// observe.
func (t *Trial) Stop() error {
	err := errors.Join(t.StopBridge(), t.onlyObserved())
	t.end()
	t.background.Wait()
	if t.letters != nil {
		err = errors.Join(err, t.letters.Close())
	}
	if t.broker != nil {
		t.broker.Shutdown()
	}
	return err
}

// onlyObserved is called once the bridge has ended. Losing its last sockets must change nothing either, and the vendor may notice that a little later.
func (t *Trial) onlyObserved() error {
	var state simulator.State
	for deadline := time.Now().Add(time.Second); ; <-time.After(poll / 10) {
		state = t.simulator.State()
		open := slices.ContainsFunc(state.Workers, func(w simulator.WorkerState) bool { return w.Now > 0 })
		if !open || time.Now().After(deadline) {
			return state.OnlyObserved()
		}
	}
}

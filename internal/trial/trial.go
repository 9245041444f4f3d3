// Package trial runs everything on one machine: a simulated vendor, the bridge with its real source over real sockets, an embedded
// nats-server with file storage or a Kafka that is there, consumers that share nothing with the bridge but the wire, and a judge of each. It
// is the demo, and the stage of the end-to-end tests.
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
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Options of a trial. Time-outs that last half a minute in production are seconds here, so that a short run shows what they do.
type Options struct {
	Dir           string        // for the broker's files; required
	Kafka         []string      // brokers, host:port: a new topic there is a sink; nil: there is none
	NoNATS        bool          // that one is the only sink
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
	outlets   []*outlet // one at least

	mu      sync.Mutex
	broker  *embedded.Server // nil: NoNATS
	roster  []source.Agent
	letters *deadletter.Store
	bridge  *bridge.Bridge
	stop    context.CancelFunc // of the bridge
	done    chan error         // of the bridge

	background sync.WaitGroup
	end        context.CancelFunc // of everything else
}

// The names of sinks.
const (
	NATS  = "nats"
	Kafka = "kafka"
)

// outlet is a sink and what is seen of it from outside.
type outlet struct {
	name     string
	judge    *ledger.Judge
	consumer *consumer
	connect  func(log *zap.Logger) (connected, error) // makes the sink, as often as there are bridges
	clear    func() error                             // at the end; nil: there is nothing to do
}

// connected is a sink that begins to connect when it is told to.
type connected interface {
	sink.Sink
	Connect(ctx context.Context)
}

func (t *Trial) addOutlet(name string, r reader, connect func(*zap.Logger) (connected, error)) *outlet {
	judge := ledger.NewJudge(ledger.Bounds{
		Rate: t.o.Rate, Duration: t.o.Duration, Sessions: t.o.Agents, SilenceLimit: t.o.Silence, DialBudget: t.o.DialRate,
	})
	o := &outlet{name: name, judge: judge, consumer: newConsumer(r, judge, t.log.Named(name)), connect: connect}
	t.outlets = append(t.outlets, o)
	return o
}

// addNATS starts the nats-server.
func (t *Trial) addNATS() (err error) {
	if t.broker, err = embedded.Start(filepath.Join(t.o.Dir, "nats"), 0, t.log.Named("nats")); err != nil {
		return err
	}
	var c jetstream.Config
	c.SetDefaults()
	c.URL, c.Stream = t.broker.URL(), stream
	t.addOutlet(NATS, &streamReader{url: c.URL}, func(log *zap.Logger) (connected, error) {
		return jetstream.New(c, log, prometheus.NewRegistry())
	})
	return nil
}

// addKafka fails when no broker answers: the bridge would wait for one for ever.
func (t *Trial) addKafka(ctx context.Context) error {
	c := newTopic(t.o.Kafka)
	if err := reach(ctx, c.Brokers); err != nil {
		return err
	}
	o := t.addOutlet(Kafka, &topicReader{brokers: c.Brokers, topic: c.Topic}, func(log *zap.Logger) (connected, error) {
		return kafka.New(c, nil, log, prometheus.NewRegistry())
	})
	o.clear = func() error { return deleteTopic(c) }
	return nil
}

// Start brings everything up; the workload runs from the beginning. The caller ends the trial whether or not it succeeds later.
func Start(ctx context.Context, o Options, log *zap.Logger) (*Trial, error) {
	o.setDefaults()
	t := &Trial{o: o, log: log}
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
	if !o.NoNATS {
		if err := t.addNATS(); err != nil {
			return nil, errors.Join(err, t.Stop())
		}
	}
	if len(o.Kafka) > 0 {
		if err := t.addKafka(ctx); err != nil {
			return nil, errors.Join(err, t.Stop())
		}
	}
	if t.letters, err = deadletter.Open(deadletter.Options{Dir: filepath.Join(o.Dir, deadletter.Dir), Log: log.Named("deadletters")}); err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	if err := t.StartBridge(ctx); err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	for _, o := range t.outlets {
		t.background.Go(func() { o.consumer.run(ctx) })
	}
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
	sinks, all := map[string]sink.Sink{}, []connected(nil)
	for _, o := range t.outlets {
		to, err := o.connect(t.log.Named(o.name))
		if err != nil {
			return err
		}
		all, sinks[o.name] = append(all, to), to
		if t.o.tamper != nil {
			if sinks[o.name], err = t.o.tamper(to, t.broker.URL()); err != nil {
				return err
			}
		}
	}
	accepted, err := spool.Open(spool.Options{Dir: filepath.Join(t.o.Dir, "spool"), Log: t.log.Named("spool")})
	if err != nil {
		return err
	}
	t.bridge, err = bridge.New(
		bridge.Options{BridgeID: "trial", DialRate: t.o.DialRate, Silence: t.o.Silence},
		map[string]bridge.Feed{sourceName: {Source: src, Mapper: mapping.NewTaskRouter(policy)}},
		accepted, sinks, t.letters, t.log.Named("bridge"), prometheus.NewRegistry())
	if err == nil {
		err = t.bridge.SetRoster(map[string][]source.Agent{sourceName: t.roster})
	}
	if err != nil {
		return errors.Join(err, accepted.Close())
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	for _, to := range all {
		to.Connect(ctx)
	}
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
	t.fault(ledger.Fault{Sessions: len(f.Workers), Lasted: lasted})
	return t.simulator.Inject(f)
}

func (t *Trial) fault(f ledger.Fault) {
	for _, o := range t.outlets {
		o.judge.Fault(f)
	}
}

// Verdict ends the workload, waits until everything that was told has landed or has had ample time to, and judges each sink, by name.
func (t *Trial) Verdict(ctx context.Context) (map[string]ledger.Verdict, error) {
	t.simulator.StopWorkload()
	end := time.Now()
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		t.readLedger()
		all, missing, err := map[string]ledger.Verdict{}, 0, error(nil)
		for _, o := range t.outlets {
			v := o.judge.Verdict(end)
			all[o.name], missing = v, missing+v.Missing
			if bad := v.Err(); bad != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", o.name, bad))
			}
		}
		if missing == 0 && t.Progress().Unconfirmed == 0 {
			return all, err
		}
		select {
		case <-ctx.Done():
			return all, err
		case <-time.After(4 * poll):
		}
	}
}

// settle is how long what was told may take to land: longer than any time-out of the trial.
const settle = 20 * time.Second

func (t *Trial) readLedger() {
	for _, e := range t.simulator.Ledger() {
		for _, o := range t.outlets {
			o.judge.Emit(ledger.Entry(e))
		}
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
	for _, o := range t.outlets {
		if o.clear != nil {
			err = errors.Join(err, o.clear())
		}
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

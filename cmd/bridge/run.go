package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func newRunCommand(abort <-chan struct{}) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Hold the agents' sessions and publish what they tell",
		Long: `Hold the agents' sessions and publish what they tell, until a signal stops it. Logs go to standard error; /metrics, /livez and /readyz are
on the health listener; bridge agents and bridge loglevel ask the admin listener.

The first SIGINT or SIGTERM stops in order: sessions are closed and the gap that this makes is told, what is accepted is delivered (for at most
bridge.drain_timeout), and the exit code is 0; it is 1 when events were left, with their number. A second signal exits at once and says what is lost.`,
		Example: `  bridge run -c bridge.yaml
  bridge run -c configs/evaluation.yaml   # against bridge simulate taskrouter, with a broker of its own`,
		Args: cobra.NoArgs,
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), abort, cmd.ErrOrStderr())
	}
	return cmd
}

// run makes everything, in this order, and ends it in reverse:
//
//	embedded brokers   first, because the sinks need their addresses
//	dead letters       a second bridge with the same folder ends here
//	buffer, sinks, sources, bridge: made, and nobody is dialled yet
//	listeners          a port in use is known before any vendor or broker hears of us
//	sinks              connect
//	bridge             dials the agents
//	rosters            are listed, read and watched; lists in the configuration are known before
//
// Rosters end before the bridge: a change on the way out would make a removal of a planned stop. The bridge ends by closing sessions, delivering what
// is accepted and closing the sinks; then the buffer and the embedded brokers close. The listeners go last, so that all this can be watched.
func (c *configuration) run(ctx context.Context, abort <-chan struct{}, stderr io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log, level := newLeveledLogger(c.Logging, stderr)
	reg := prometheus.NewRegistry()

	// Deferred before everything else, so that it runs last.
	listenersCtx, stopListeners := context.WithCancel(context.WithoutCancel(ctx))
	var listenersEnded []chan error
	defer func() {
		stopListeners()
		for _, ended := range listenersEnded {
			err = errors.Join(err, <-ended)
		}
	}()
	serve := func(s *admin.Server) {
		ended := make(chan error, 1)
		listenersEnded = append(listenersEnded, ended)
		go func() {
			ended <- s.Serve(listenersCtx)
			cancel() // a bridge that nobody can look at is not left running
		}()
	}

	servers, stopServers, err := c.servers(log)
	defer stopServers()
	if err != nil {
		return err
	}
	buffer := spool.NewMemory(spool.MemoryOptions{Bytes: int64(c.Buffer.MaxBytes)})
	defer func() { _ = buffer.Close() }() // nothing of it outlives the process
	letters, err := c.deadLetters(log.Named("deadletters"), reg)
	if err != nil {
		return err
	}
	aging, stopAging := context.WithCancel(context.WithoutCancel(ctx))
	var aged sync.WaitGroup
	aged.Go(func() { letters.Run(aging) })
	defer func() {
		stopAging()
		aged.Wait()
		err = errors.Join(err, letters.Close())
	}()
	brokers, err := c.sinks(servers, log, reg)
	if err != nil {
		return err
	}
	feeds, rosters, err := c.sources(log, reg)
	if err != nil {
		return err
	}
	sinks := map[string]sink.Sink{}
	for name, b := range brokers {
		sinks[name] = b
	}
	b, err := bridge.New(c.Bridge.options(), feeds, buffer, sinks, letters, log, reg)
	if err != nil {
		return err
	}
	rosters.begin(func(all map[string][]source.Agent) error {
		agents := 0
		for _, part := range all {
			agents += len(part)
		}
		buffer.Reserve(reserve(agents))
		warnOfFiles(agents, log)
		return b.SetRoster(all)
	})
	ready := readiness{stopping: func() bool { return ctx.Err() != nil }, bridge: b, rosters: rosters, brokers: brokers, log: buffer, letters: letters, minLive: c.Health.MinLive}
	if c.Privacy.Raw {
		ready.raw = len(c.Sources)
	}
	own := newMetrics(reg, buffer, ready.ready)
	own.capacity.Set(float64(c.Buffer.MaxBytes))
	own.raw.Set(float64(ready.raw))
	// Status waits for the fleet loop's mutex and for every agent's.
	probes := admin.Probes{Alive: func() { b.Status() }, Reasons: ready.reasons, Metrics: reg}
	health, err := admin.ListenHealth(c.Health, probes, log)
	if err != nil {
		return err
	}
	serve(health)
	adminAddress := admin.Off
	if c.Admin.Listen != admin.Off {
		operators, err := admin.Listen(c.Admin, admin.Process{
			Agents: func() []admin.Agent { return agentsOf(b, time.Now()) }, Level: level, DeadLetters: ownLetters{letters, buffer},
		}, log)
		if err != nil {
			return err
		}
		serve(operators)
		adminAddress = operators.Address()
	}
	c.warn(log)
	_, _, agents := rosters.state()
	log.Info("bridge starts", zap.String("version", version), zap.String("bridge_id", c.Bridge.ID), zap.Int("agents", agents),
		zap.Int("sources", len(c.Sources)), zap.Int("sinks", len(c.Sinks)), zap.String("health", health.Address()),
		zap.String("admin", adminAddress))
	for _, b := range brokers {
		b.Connect(ctx)
	}
	bridgeCtx, stopBridge := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBridge()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(bridgeCtx) }()
	go func() {
		rosters.run(ctx)
		stopBridge()
	}()
	for stopping := ctx.Done(); ; {
		select {
		case <-stopping:
			stopping = nil
			log.Info("bridge stops: it closes its sessions and delivers what is accepted", zap.Int("undelivered", undelivered(b)),
				zap.Duration("drain_timeout", time.Duration(c.Bridge.DrainTimeout)))
		case <-abort:
			// Not waited for: the process ends with what is left of it.
			return fmt.Errorf("stopped at once by a second signal: %d accepted events were not delivered yet and are lost", undelivered(b))
		case err := <-ended:
			if err == nil {
				log.Info("bridge stopped, everything is delivered")
			}
			return err
		}
	}
}

// undelivered counts the events that some broker has not confirmed, once per sink.
func undelivered(b *bridge.Bridge) int {
	n := 0
	for _, s := range b.Status().Sinks {
		n += s.Unconfirmed
	}
	return n
}

// warn tells what the operator should know before trusting the bridge.
func (c *configuration) warn(log *zap.Logger) {
	log.Warn("accepted events live in memory until a broker confirms them: a crash loses them", zap.Stringer("max_bytes", c.Buffer.MaxBytes))
	if c.Privacy.Raw {
		log.Warn("privacy.raw is on: vendors' payloads, personal data included, are published unchanged")
	}
	for _, s := range c.Sources {
		if s.TaskRouter != nil && strings.HasPrefix(s.TaskRouter.EventBridgeURL, "http://") {
			log.Warn("event_bridge_url is http: tokens travel in clear text, for simulators only", zap.String("source", s.Name))
		}
		if s.TaskRouter != nil && s.TaskRouter.Agents.Listed() && strings.HasPrefix(s.TaskRouter.TaskRouterURL, "http://") {
			log.Warn("taskrouter_url is http: the API secret travels in clear text, for simulators only", zap.String("source", s.Name))
		}
	}
	if runtime.GOOS == "windows" {
		log.Warn("who may read the secret files cannot be checked on this platform")
	}
}

// warnOfFiles tells when this process may open too few files for so many agents.
func warnOfFiles(agents int, log *zap.Logger) {
	// Sessions overlap when they are renewed; the rest is for brokers, listeners and files.
	const others = 128
	if limit, known := fileDescriptors(); known && limit < uint64(2*agents+others) {
		log.Warn("the limit of open files is low for this roster: raise it (ulimit -n, LimitNOFILE)",
			zap.Uint64("limit", limit), zap.Int("needed", 2*agents+others))
	}
}

// reserve is what the buffer holds back for gap and session records, in bytes: some four of each per agent, as a full log with every session lost
// and found again would need.
func reserve(agents int) int64 { return max(1<<20, int64(agents)*6<<10) }

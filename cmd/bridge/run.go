package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/source"
)

func newRunCommand(abort <-chan struct{}) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Hold the agents' sessions and publish what they tell",
		Long: `Hold the agents' sessions and publish what they tell, until a signal stops it. Logs go to standard error; /metrics, /livez and /readyz are
on the health listener; bridge agents and bridge loglevel ask the admin listener.

What is accepted is in the spool (spool.dir) before it counts, and survives crash and power loss there; the next start delivers the rest.

The first SIGINT or SIGTERM stops in order: sessions are closed, the gap that this makes is told, and the exit code is 0. bridge.stop says whether
what is accepted is delivered before (drain, for at most bridge.drain_timeout) or left to the next start (fast, within 2 s); auto drains only where
spool.dir would go with the container. A second signal exits at once: nothing accepted is lost by that either.`,
		Example: `  bridge run -c bridge.yaml
  bridge run -c configs/evaluation.yaml   # against bridge simulate taskrouter, with a broker of its own`,
		Args:        cobra.NoArgs,
		Annotations: stopsInOrder,
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
//	spool              a second bridge on the same folder ends here
//	dead letters       beside it
//	sinks, sources, bridge: made, with what an earlier run left; nobody is dialled yet
//	listeners          a port in use is known before any vendor or broker hears of us
//	sinks              connect
//	bridge             dials the agents
//	rosters            are listed, read and watched; lists in the configuration are known before
//
// Rosters end before the bridge: a change on the way out would make a removal of a planned stop. The bridge ends by closing sessions, delivering what
// is accepted where that is asked for, and closing the sinks; then the spool and the embedded brokers close. The listeners go last, so that all this can be watched.
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
			ended <- s.Serve(listenersCtx, abort)
			cancel() // a bridge that nobody can look at is not left running
		}()
	}

	servers, stopServers, err := c.servers(log)
	defer stopServers()
	if err != nil {
		return err
	}
	accepted, err := c.Spool.open(log.Named("spool"), reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, accepted.Close()) }()
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
	b, err := bridge.New(c.options(), feeds, accepted, asSinks(brokers), letters, log, reg)
	if err != nil {
		return err
	}
	rosters.begin(func(all map[string][]source.Agent) error {
		agents := 0
		for _, part := range all {
			agents += len(part)
		}
		accepted.Reserve(reserve(agents))
		warnOfFiles(agents, log)
		return b.SetRoster(all)
	})
	ready := readiness{
		stopping: func() bool { return ctx.Err() != nil }, bridge: b, rosters: rosters, brokers: brokers, spool: accepted, letters: letters,
		minLive: c.Health.MinLive,
	}
	if c.Privacy.Raw {
		ready.raw = len(c.Sources)
	}
	own := newMetrics(reg, ready.ready)
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
			Agents: func() []admin.Agent { return agentsOf(b, time.Now()) }, Level: level, DeadLetters: ownLetters{letters, accepted},
		}, log)
		if err != nil {
			return err
		}
		serve(operators)
		adminAddress = operators.Address()
	}
	c.warn(log)
	unread, _, agents := rosters.state()
	log.Info("bridge starts", zap.String("version", version), zap.String("bridge_id", c.Bridge.ID), zap.Int("agents", agents),
		zap.Int("rosters_unread", unread), zap.Int("sources", len(c.Sources)), zap.Int("sinks", len(c.Sinks)), zap.String("health", health.Address()),
		zap.String("admin", adminAddress))
	for _, b := range brokers {
		b.Connect(ctx)
	}
	go tendMemory(ctx)
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
			log.Info("bridge stops: it closes its sessions", zap.Any("undelivered", undelivered(b)), zap.Duration("delivers_for", c.options().Drain))
		case <-abort:
			// Not waited for: the process ends with what is left of it.
			return fmt.Errorf("stopped at once by a second signal: accepted events are not delivered yet (%s); they are in the spool, and the next start delivers them", bySink(undelivered(b)))
		case err := <-ended:
			log.Info("bridge stopped", zap.Any("undelivered", undelivered(b)))
			return err
		}
	}
}

// undelivered counts the accepted events that each sink's broker has not confirmed.
func undelivered(b *bridge.Bridge) map[string]int {
	left := map[string]int{}
	for name, s := range b.Status().Sinks {
		left[name] = s.Unconfirmed
	}
	return left
}

// bySink is a count in words: "crm: 2, facts: 0".
func bySink(count map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s: %d", name, count[name]))
	}
	return strings.Join(parts, ", ")
}

// warn tells what the operator should know before trusting the bridge.
func (c *configuration) warn(log *zap.Logger) {
	if ephemeral(string(c.Spool.Dir)) {
		log.Warn("spool.dir is in memory or in a container's own layer: what it holds goes with that; put it on a volume", zap.String("dir", string(c.Spool.Dir)))
	}
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

// reserve is what the spool holds back for gap and session records, in bytes: some four of each per agent, as a full log with every session lost
// and found again would need.
func reserve(agents int) int64 { return max(1<<20, int64(agents)*6<<10) }

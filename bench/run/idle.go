package run

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// dialRate is what the bridge dials per second unless it is told otherwise: bridge.dial_rate in cmd/bridge/config.go.
	dialRate = 50
	// busyFor is how long the load over many sessions lasts.
	busyFor = 20 * time.Second
)

// idle are stages with many sessions: at rest, ws and wss; ws under load; and the largest number lost at once. The load comes last, because
// the ids of its events would be remembered, as they are for 15 minutes.
func (r *runner) idle() []step {
	if r.options.Quick {
		return nil
	}
	settle := r.options.Settle
	all := []step{{"the bridge with 0 sessions at rest", settle + startUp, func(ctx context.Context) error { return r.rest(ctx, 0, false, false) }}}
	most := 0
	for _, n := range r.options.Sessions {
		most = max(most, n)
	}
	for _, n := range r.options.Sessions {
		ramp := time.Duration(n) * time.Second / dialRate
		for _, tls := range []bool{false, true} {
			title, takes := fmt.Sprintf("%d %s sessions at rest", n, scheme(tls)), startUp+ramp+settle
			if !tls {
				title += fmt.Sprintf(", then at %.0f events per second", r.options.Busy)
				takes += busyFor
			}
			storm := n == most && !tls
			if storm {
				title += "; between, all are lost at once"
				takes += ramp + settle
			}
			all = append(all, step{title, takes, func(ctx context.Context) error { return r.rest(ctx, n, tls, storm) }})
		}
	}
	return all
}

func scheme(tls bool) string {
	if tls {
		return "wss"
	}
	return "ws"
}

// rest measures a number of sessions.
func (r *runner) rest(ctx context.Context, sessions int, tls, storm bool) (err error) {
	under := &theBridge{path: r.options.Bridge}
	s, err := r.setStage(ctx, under, sessions, tls)
	defer func() { err = errors.Join(err, s.strike()) }()
	if err != nil {
		return err
	}
	idle, err := r.settled(ctx, s, under)
	if err != nil {
		return err
	}
	idle.TLS = tls
	r.results.Idle = append(r.results.Idle, idle)
	r.printIdle(idle)
	if storm {
		if err := r.storm(ctx, s, under, idle); err != nil {
			return err
		}
	}
	if tls || sessions == 0 {
		return nil
	}
	round, err := s.measure(ctx, wholeCycles(r.options.Busy*busyFor.Seconds(), sessions), r.options.Busy)
	round.Number = 1
	if round.judged() {
		r.results.Sessions = append(r.results.Sessions, round)
		r.print(round)
	}
	return err
}

// settled lets a stage be idle until the garbage of its beginning is collected and given back, and measures it.
func (r *runner) settled(ctx context.Context, s *stage, under *theBridge) (idle Idle, err error) {
	r.say("  %d sessions are live; they rest for %v\n", s.agents, r.options.Settle)
	before, err := s.program.Usage()
	if err != nil {
		return idle, err
	}
	rest := time.NewTimer(r.options.Settle)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		return idle, context.Cause(ctx)
	}
	if err := s.died(); err != nil {
		return idle, err
	}
	after, err := s.program.Usage()
	if err != nil {
		return idle, err
	}
	m, err := scrape(ctx, under.health)
	if err != nil {
		return idle, err
	}
	if live := m.value("taskbridge_sessions", "state", "live"); live != float64(s.agents) {
		return idle, fmt.Errorf("%.0f of %d sessions are live after %v of rest", live, s.agents, r.options.Settle)
	}
	return Idle{
		Sessions: s.agents, RSS: after.RSS, Settled: r.options.Settle.Seconds(), CPU: (after.CPU - before.CPU).Seconds() / r.options.Settle.Seconds(),
		Goroutines: m.value("go_goroutines", "", ""), Heap: m.value("go_memstats_heap_inuse_bytes", "", ""),
		Stacks: m.value("go_memstats_stack_inuse_bytes", "", ""),
	}, nil
}

// storm loses every session at once, and measures what follows.
func (r *runner) storm(ctx context.Context, s *stage, under *theBridge, before Idle) error {
	lost := time.Now()
	n, err := s.control.Drop(ctx)
	if err != nil {
		return err
	}
	if n != s.agents {
		return fmt.Errorf("%d of %d sockets were there to be closed", n, s.agents)
	}
	if err := s.until(ctx, "every session was dialled again", func() (string, bool, error) {
		d, err := s.control.Dials(ctx, lost)
		return strconv.Itoa(d.Count), d.Count >= s.agents, err
	}); err != nil {
		return err
	}
	if err := s.awaitLive(ctx); err != nil {
		return err
	}
	dials, err := s.control.Dials(ctx, lost)
	if err != nil {
		return err
	}
	after, err := r.settled(ctx, s, under)
	if err != nil {
		return err
	}
	usage, err := s.program.Usage()
	if err != nil {
		return err
	}
	r.results.Storm = &Storm{
		Sessions: s.agents, Budget: dialRate, Peak: dials.Peak, Dials: dials.Count, Seconds: time.Unix(0, dials.Last).Sub(lost).Seconds(),
		Before: before.RSS, After: after.RSS, Highest: usage.Peak,
	}
	r.printStorm(r.results.Storm)
	return nil
}

package run

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/taskbridge/taskbridge/bench/report"
)

const (
	// outageRate is the events per second, outageLead for how long before the broker is killed, and outageTail for how long after it is started again.
	outageRate = 2_000.0
	outageLead = 30 * time.Second
	outageTail = 45 * time.Second
	// outageRounds is how many of them: what shares the machine shows in one round as much as the outage does.
	outageRounds = 3
	// latencyWindow is what a quantile of the latency is taken of.
	latencyWindow = 10 * time.Second
	// drained is when an event has not waited because of an outage.
	drained = time.Second
)

// outages are the rounds of a bridge with two sinks, of which one's broker is killed and comes back.
func (r *runner) outages() (all []step) {
	for i := range outageRounds {
		title := fmt.Sprintf("two sinks at %.0f events per second: Kafka is down for %v, NATS is not, round %d", outageRate, r.options.Down, i+1)
		all = append(all, step{title, startUp + outageLead + r.options.Down + outageTail, r.measureOutage})
	}
	return all
}

func (r *runner) measureOutage(ctx context.Context) (err error) {
	under := &theBridge{path: r.options.Bridge}
	s, err := r.setStage(ctx, under, agents, false, r.nats(), r.newTopic())
	defer func() { err = errors.Join(err, s.strike()) }()
	if err != nil {
		return err
	}
	x := Outage{Rate: outageRate, Calibration: report.Calibrate()}
	base, err := s.ends(ctx)
	if err != nil {
		return err
	}
	before, err := s.costs()
	if err != nil {
		return err
	}
	n := wholeCycles(outageRate*(outageLead+r.options.Down+outageTail).Seconds(), agents)
	load, err := s.control.Go(ctx, n, outageRate)
	if err != nil {
		return err
	}
	killed, started, err := r.killForAWhile(ctx, s)
	if err != nil {
		return err
	}
	var round Round
	for i, b := range s.brokers() {
		if err := s.awaitGrowth(ctx, b, base[i], n, &round); err != nil {
			return err
		}
	}
	after, err := s.costs()
	if err != nil {
		return err
	}
	all := float64(after.at.Sub(before.at)) * float64(runtime.NumCPU())
	used := func(c costs) time.Duration { return c.program.CPU + c.broker.CPU + c.generator.CPU }
	x.OtherLoad = max(0, float64(after.busy-before.busy-used(after)+used(before))/all) // Kafka's is in it
	checks, trouble, err := s.readBack(ctx, base, load)
	if err != nil {
		return err
	}
	stamps, err := s.control.Stamps(ctx, int(n))
	if err != nil {
		return err
	}
	x.Flowing, x.Held = checks[0].Report(), checks[1].Report()
	x.judge(stamps, checks[0].Stored(), checks[1].Stored(), killed, started)
	r.results.Outages = append(r.results.Outages, x)
	r.printOutage(&x)
	for _, c := range checks {
		if err := c.Report().Err(under.promises()); err != nil {
			return fmt.Errorf("%w; %s", err, trouble)
		}
	}
	return nil
}

// killForAWhile returns when the broker can be used again. started is when it was told to start again.
func (r *runner) killForAWhile(ctx context.Context, s *stage) (killed, started time.Time, err error) {
	const node = 1
	if err := s.rest(ctx, outageLead); err != nil {
		return killed, started, err
	}
	killed = time.Now()
	if err := r.kafka.Kill(ctx, node); err != nil {
		return killed, started, err
	}
	if err := s.rest(ctx, r.options.Down); err != nil {
		return killed, started, err
	}
	started = time.Now()
	return killed, started, r.kafka.Restart(ctx, node)
}

// rest lets time pass.
func (s *stage) rest(ctx context.Context, d time.Duration) error {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-pause.C:
		return s.died()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// judge makes the figures of when events were sent, and when the broker that was there and the one that was not have stored them; all in ns since 1970, of the
// same events, in the order in which they were sent. What was not stored is 0. started is when the broker was started again, which takes it a while.
func (x *Outage) judge(stamps, flowing, held []int64, killed, started time.Time) {
	from, to := killed.UnixNano(), started.UnixNano()
	first, last := int64(0), int64(0) // of those that had to wait
	for i, at := range held {
		if at <= to || at-stamps[i] <= drained.Nanoseconds() {
			continue
		}
		if first == 0 || at < first {
			first = at
		}
		last = max(last, at)
	}
	stored := 0
	for i, at := range held {
		if at >= first && at <= last {
			stored++
			if stamps[i] <= first {
				x.Backlog++
			}
		}
	}
	x.Down = time.Duration(max(first, to) - from).Seconds()
	if last > first {
		x.Seconds = time.Duration(last - first).Seconds()
		x.Drain = float64(stored) / x.Seconds
	}
	x.Before = typicalP99(stamps, flowing, stamps[0], from)
	x.During = typicalP99(stamps, flowing, from, max(first, to))
	x.After = typicalP99(stamps, flowing, first, last)
}

// typicalP99 is the median of the windows' p99, in ms, of events sent from one moment to before another. A last window that is not whole does not count, unless it is
// the only one.
func typicalP99(stamps, stored []int64, from, to int64) float64 {
	var windows [][]time.Duration
	for i, sent := range stamps {
		if sent < from || sent >= to || stored[i] == 0 {
			continue
		}
		w := int((sent - from) / latencyWindow.Nanoseconds())
		for len(windows) <= w {
			windows = append(windows, nil)
		}
		windows[w] = append(windows[w], time.Duration(stored[i]-sent))
	}
	if whole := int((to - from) / latencyWindow.Nanoseconds()); whole > 0 && len(windows) > whole {
		windows = windows[:whole]
	}
	var all []float64
	for _, w := range windows {
		if len(w) > 0 {
			_, p99, _ := quantiles(slices.Clone(w))
			all = append(all, p99)
		}
	}
	return report.Median(all)
}

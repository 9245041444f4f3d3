package run

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/verify"
)

// warmSeconds is for how long a paced load goes on before it is measured: programs, brokers and their memory reach the size at which they stay. A flood is
// measured from its beginning, as a surge would come.
const warmSeconds = 2

// measure sends n events at rate to a stage that is live, ends the program under test, so that nothing can come later, and judges what the stream holds.
func (s *stage) measure(ctx context.Context, n uint64, rate float64) (Round, error) {
	round := Round{Program: s.under.name(), Agents: s.agents, Events: n, Rate: rate, Calibration: report.Calibrate()}
	if rate > 0 {
		if err := s.warm(ctx, wholeCycles(warmSeconds*rate, s.agents), rate); err != nil {
			return round, err
		}
	}
	base, err := s.ends(ctx)
	if err != nil {
		return round, err
	}
	before, err := s.costs()
	if err != nil {
		return round, err
	}
	load, err := s.control.Go(ctx, n, rate)
	if err != nil {
		return round, err
	}
	if err := s.awaitGrowth(ctx, s.broker, base[0], n, &round); err != nil {
		return round, err
	}
	after, err := s.costs()
	if err != nil {
		return round, err
	}
	round.note(before, after)
	checks, trouble, err := s.readBack(ctx, base, load)
	if err != nil {
		return round, err
	}
	check := checks[0]
	round.Verified = check.Report()
	round.Seconds = check.Last().Sub(time.Unix(0, load.Began)).Seconds()
	if rate > 0 {
		stamps, err := s.control.Stamps(ctx, int(n))
		if err != nil {
			return round, err
		}
		round.P50, round.P99, round.P999 = quantiles(check.Latencies(stamps))
	}
	if err := round.Verified.Err(s.under.promises()); err != nil {
		return round, fmt.Errorf("%s: %w; %s", round.Program, err, trouble)
	}
	return round, nil
}

// warm sends n events at rate, and returns when they are stored.
func (s *stage) warm(ctx context.Context, n uint64, rate float64) error {
	base, err := s.ends(ctx)
	if err != nil {
		return err
	}
	if _, err := s.control.Go(ctx, n, rate); err != nil {
		return err
	}
	return s.awaitGrowth(ctx, s.broker, base[0], n, &Round{})
}

// lateness is how long events that the stream lacks are waited for, once the generator has sent everything.
const lateness = 10 * time.Second

// awaitGrowth returns when a broker has n messages more than base, or has not grown for too long although all was sent.
func (s *stage) awaitGrowth(ctx context.Context, b broker, base place, n uint64, round *Round) error {
	var had uint64
	since := time.Now()
	return s.until(ctx, "the stream has every event", func() (string, bool, error) {
		stat, err := s.control.Stat(ctx)
		if err == nil && stat.Error != "" {
			err = fmt.Errorf("generator: %s; the %s: %s; it wrote:\n%s", stat.Error, s.under.name(), s.under.trouble(ctx), s.program.Tail())
		}
		if err != nil {
			return "", false, err
		}
		round.Behind = milliseconds(time.Duration(stat.Behind))
		now, err := b.end(ctx)
		if has := now.since(base); has != had || !stat.Ended {
			had, since = has, time.Now()
		}
		return strconv.FormatUint(had, 10), had >= n || time.Since(since) > lateness, err
	})
}

// ends are the places of the newest messages, by broker.
func (s *stage) ends(ctx context.Context) (all []place, err error) {
	for _, b := range s.brokers() {
		end, err := b.end(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, end)
	}
	return all, nil
}

// readBack reads what each broker has after base. The bridge tells of sessions too, at each minute's turn: where such messages were counted for
// events, those are still to come. Then the program is ended, and what it stored until then is read. trouble is the program's word for events that are missing.
func (s *stage) readBack(ctx context.Context, base []place, load generator.Started) (checks []*verify.Checker, trouble string, err error) {
	for range base {
		checks = append(checks, verify.New(load))
	}
	complete := func() bool {
		return !slices.ContainsFunc(checks, func(c *verify.Checker) bool { return !c.Complete() })
	}
	read := func() error {
		now, err := s.ends(ctx)
		if err != nil {
			return err
		}
		for i, b := range s.brokers() {
			if err := b.read(ctx, base[i], now[i], checks[i].Take); err != nil {
				return err
			}
		}
		base = now
		return nil
	}
	began := time.Now()
	if err := s.until(ctx, "every event was read", func() (string, bool, error) {
		err := read()
		return "", complete() || time.Since(began) > lateness, err
	}); err != nil {
		return nil, "", err
	}
	if !complete() {
		trouble = s.under.trouble(ctx)
	}
	if err := s.program.Stop(); err != nil {
		return nil, "", err
	}
	return checks, trouble, read()
}

// costs are what the processes of a stage have used so far.
type costs struct {
	at                         time.Time
	program, broker, generator process.Usage
	busy                       time.Duration // all cores, all processes
}

func (s *stage) costs() (c costs, err error) {
	c.at = time.Now()
	for _, part := range []struct {
		of func() (process.Usage, error)
		u  *process.Usage
	}{{s.program.Usage, &c.program}, {s.broker.usage, &c.broker}, {s.generator.Usage, &c.generator}} {
		if *part.u, err = part.of(); err != nil {
			return c, err
		}
	}
	c.busy, err = process.Busy()
	return c, err
}

func (r *Round) note(before, after costs) {
	used := func(a, b process.Usage) time.Duration { return b.CPU - a.CPU }
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(r.Events) }
	program, broker, generator := used(before.program, after.program), used(before.broker, after.broker), used(before.generator, after.generator)
	r.ProgramCPU, r.BrokerCPU, r.GeneratorCPU = per(program), per(broker), per(generator)
	r.RSS, r.PeakRSS = after.program.RSS, after.program.Peak
	all := float64(after.at.Sub(before.at)) * float64(runtime.NumCPU())
	r.OtherLoad = max(0, float64(after.busy-before.busy-program-broker-generator)/all)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantiles are in milliseconds: by nearest rank, the least value that so many are not above. It sorts all.
func quantiles(all []time.Duration) (p50, p99, p999 float64) {
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	at := func(permille int) float64 { return milliseconds(all[(len(all)*permille+999)/1000-1]) }
	return at(500), at(990), at(999)
}

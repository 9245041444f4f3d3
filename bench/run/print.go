package run

import (
	"fmt"

	"github.com/taskbridge/taskbridge/bench/verify"
)

// say writes to whoever follows the run; that nobody does any more is no reason to end it.
func (r *runner) say(format string, args ...any) { _, _ = fmt.Fprintf(r.options.Out, format, args...) }

// print tells one round.
func (r *runner) print(x Round) {
	r.say("  %-8s %8.0f events/s  CPU µs/event: program %.2f, broker %.2f, generator %.2f", x.Program, x.EventsPerSecond(),
		x.ProgramCPU, x.BrokerCPU, x.GeneratorCPU)
	switch {
	case x.Longest > 0:
		r.say("  longest wait %.1f ms", x.Longest)
	case x.Rate > 0:
		r.say("  ms: p50 %.2f, p99 %.2f, p99.9 %.2f (sent up to %.2f late)", x.P50, x.P99, x.P999, x.Behind)
	}
	r.say("  RSS %.0f MB  calibration %.0f MB/s, other load %.0f %%\n", float64(x.PeakRSS)/1e6, x.Calibration, 100*x.OtherLoad)
	v := x.Verified
	r.say("         stream: %d events, %d missing, %d duplicates, %d breaks of a task's order, %d of an agent's, %d others\n",
		v.Events, v.Missing, v.Duplicates, v.KeyBreaks, v.AgentBreaks, v.Others)
}

func (r *runner) printIdle(x Idle) {
	r.say("  %d sessions (%s): RSS %.1f MB, %.0f goroutines, heap %.1f MB, stacks %.1f MB, %.1f %% of a core", x.Sessions, scheme(x.TLS),
		float64(x.RSS)/1e6, x.Goroutines, x.Heap/1e6, x.Stacks/1e6, 100*x.CPU)
	if base := r.results.Idle[0]; x.Sessions > 0 && base.Sessions == 0 {
		r.say("; a session %.2f KiB and %.2f goroutines", x.PerSession(base), (x.Goroutines-base.Goroutines)/float64(x.Sessions))
	}
	r.say("\n")
}

func (r *runner) printStorm(x *Storm) {
	r.say("  %d sessions lost at once: %d dials, at most %d in a second (budget %.0f), all back after %.0f s; RSS %.1f MB before, %.1f after, %.1f at most\n",
		x.Sessions, x.Dials, x.Peak, x.Budget, x.Seconds, float64(x.Before)/1e6, float64(x.After)/1e6, float64(x.Highest)/1e6)
}

func (r *runner) printOutage(x *Outage) {
	r.say("  Kafka was down for %.0f s at %.0f events/s: %d events waited, and drained at %.0f events/s in %.1f s\n", x.Down, x.Rate, x.Backlog, x.Drain, x.Seconds)
	r.say("  NATS meanwhile, p99 in ms: %.2f before, %.2f while Kafka was down, %.2f while it drained; calibration %.0f MB/s, other load %.0f %%\n",
		x.Before, x.During, x.After, x.Calibration, 100*x.OtherLoad)
	for name, v := range map[string]verify.Report{"stream": x.Flowing, "topic": x.Held} {
		r.say("  %s: %d events, %d missing, %d duplicates, %d breaks of a task's order\n", name, v.Events, v.Missing, v.Duplicates, v.KeyBreaks)
	}
}

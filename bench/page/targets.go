package page

import (
	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/run"
)

// targets are what the bridge is to be, beside the limit in the same round; what was not measured is in the table too.
func (f *Figures) targets() []report.Target {
	r := f.Run
	beside := func(rounds []run.Round, rate float64, of func(run.Round) float64) report.Summary {
		return report.Summarize(run.Ratios(rounds, rate, "bridge", "limit", of))
	}
	cpu := func(r run.Round) float64 { return r.ProgramCPU }
	p99 := func(r run.Round) float64 { return r.P99 }
	var slowest []float64
	for _, x := range at(r.Paced, 10_000) {
		if x.Program == "bridge" {
			slowest = append(slowest, x.P99)
		}
	}
	all := []report.Target{
		{What: "flood: events/s, of the limit's", Better: report.Higher, Must: 0.65, Reach: 0.8, Measured: beside(r.Flood, 0, run.Round.EventsPerSecond)},
		{What: "flood: CPU per event, of the limit's", Better: report.Lower, Must: 2.2, Reach: 1.6, Measured: beside(r.Flood, 0, cpu)},
		{What: "10,000 events/s: p99", Unit: "ms", Better: report.Lower, Must: 5, Measured: report.Summarize(slowest)},
		{What: "10,000 events/s: p99, of the limit's", Better: report.Lower, Must: 4, Reach: 2, Measured: beside(r.Paced, 10_000, p99)},
		{What: "1,000 events/s over 100 sockets: CPU, of the limit's", Better: report.Lower, Must: 2, Reach: 1.3, Measured: beside(r.Paced, 1_000, cpu)},
		{What: "RSS per idle session of 10,000, ws", Unit: "KiB", Better: report.Lower, Must: 10, Reach: 8, Measured: f.idle(false)},
		{What: "RSS per idle session of 10,000, TLS", Unit: "KiB", Better: report.Lower, Must: 22, Reach: 19, Measured: f.idle(true)},
		{What: "20,000 events/s: CPU per event with 10,000 sessions, of that with 1,000", Better: report.Lower, Must: 1.25, Reach: 1.1, Measured: f.many()},
	}
	if f.Spool != nil {
		all = append(all, f.Spool.Targets()...)
	} else {
		all = append(all, report.Target{What: "spool: durable records/s, of raft-wal with a group commit", Better: report.Higher, Must: 1.2, Reach: 1.4})
	}
	all = append(all, report.Target{What: "allocations per event at flood, read to publish", Better: report.Lower, Must: 4, Reach: 1, Measured: one(f.Allocations)})
	var peak, after report.Summary
	if s := r.Storm; s != nil {
		peak, after = one(float64(s.Peak)/s.Budget), one(float64(s.After)/float64(s.Before))
	}
	all = append(all,
		report.Target{What: "all sessions lost: most dials in a second, of the budget", Better: report.Lower, Must: 1, Measured: peak},
		report.Target{What: "all sessions lost: RSS afterwards, of that before", Better: report.Lower, Must: 1.1, Measured: after},
	)
	return append(all, f.kafkaTargets()...)
}

// one is a figure that was measured once; 0: it was not.
func one(x float64) report.Summary {
	if x == 0 {
		return report.Summary{}
	}
	return report.Summarize([]float64{x})
}

func (f *Figures) idle(tls bool) report.Summary {
	kib, ok := perSession(f.Run.Idle, 10_000, tls)
	if !ok {
		return report.Summary{}
	}
	return one(kib)
}

// many compares the load over the most sessions with that over the fewest.
func (f *Figures) many() report.Summary {
	all := f.Run.Sessions
	if len(all) < 2 {
		return report.Summary{}
	}
	return one(all[len(all)-1].ProgramCPU / all[0].ProgramCPU)
}

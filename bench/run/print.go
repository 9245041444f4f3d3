package run

import "fmt"

// print tells one round.
func (r *runner) print(x Round) {
	fmt.Fprintf(r.options.Out, "  %-6s %8.0f events/s  CPU µs/event: program %.2f, broker %.2f, generator %.2f", x.Program, x.EventsPerSecond(),
		x.ProgramCPU, x.BrokerCPU, x.GeneratorCPU)
	if x.Rate > 0 {
		fmt.Fprintf(r.options.Out, "  ms: p50 %.2f, p99 %.2f, p99.9 %.2f (sent up to %.2f late)", x.P50, x.P99, x.P999, x.Behind)
	}
	fmt.Fprintf(r.options.Out, "  RSS %.0f MB  calibration %.0f MB/s, other load %.0f %%\n", float64(x.PeakRSS)/1e6, x.Calibration, 100*x.OtherLoad)
	v := x.Verified
	fmt.Fprintf(r.options.Out, "         stream: %d events, %d missing, %d duplicates, %d breaks of a task's order, %d of an agent's, %d others\n",
		v.Events, v.Missing, v.Duplicates, v.KeyBreaks, v.AgentBreaks, v.Others)
}

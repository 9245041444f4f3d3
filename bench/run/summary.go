package run

import (
	"fmt"
	"slices"

	"github.com/taskbridge/taskbridge/bench/feed"
	"github.com/taskbridge/taskbridge/bench/report"
)

// Ratios are, by round, what of has for the program beside what it has for the other one in the same round at that rate, sorted.
func Ratios(rounds []Round, rate float64, program, beside string, of func(Round) float64) (ratios []float64) {
	for _, a := range rounds {
		for _, b := range rounds {
			if a.Rate == rate && b.Rate == rate && a.Number == b.Number && a.Program == program && b.Program == beside {
				ratios = append(ratios, of(a)/of(b))
			}
		}
	}
	slices.Sort(ratios)
	return ratios
}

// figure is one that programs are compared by.
type figure struct {
	name string
	of   func(Round) float64
}

var (
	speed     = figure{"events/s", Round.EventsPerSecond}
	cpu       = figure{"CPU per event", func(r Round) float64 { return r.ProgramCPU }}
	brokerCPU = figure{"broker's CPU per event", func(r Round) float64 { return r.BrokerCPU }}
	latency   = figure{"p99", func(r Round) float64 { return r.P99 }}
	stall     = figure{"longest wait", func(r Round) float64 { return r.Longest }}
)

// summarize tells the medians of the rounds' ratios, with the least and the most.
func (r *runner) summarize() {
	x := r.results
	if len(x.Flood)+len(x.Paced)+len(x.Sessions)+len(x.KafkaFlood)+len(x.KafkaPaced)+len(x.KafkaSink)+len(x.KafkaMoves) < 2 {
		return // nothing to compare
	}
	r.say("\nMedians of the rounds' ratios [least, most]:\n")
	for _, beside := range []string{"limit", "peer"} {
		r.tell("flood", x.Flood, 0, "bridge", beside, speed, cpu, brokerCPU)
		r.tell("flood, Kafka", x.KafkaFlood, 0, "bridge", beside, speed, cpu, brokerCPU)
		for _, rate := range []float64{1_000, 10_000} {
			load := fmt.Sprintf("%.0f events/s", rate)
			r.tell(load, x.Paced, rate, "bridge", beside, latency, cpu)
			r.tell(load+", Kafka", x.KafkaPaced, rate, "bridge", beside, latency, cpu)
		}
	}
	r.tell("Kafka", x.KafkaSink, 0, feed.Sink, feed.Writer, speed, cpu, brokerCPU)
	r.tell("leaders move", x.KafkaMoves, movesAt, feed.Sink, feed.Franz, stall)
	if n := len(x.Sessions); n > 1 {
		few, many := x.Sessions[0], x.Sessions[n-1]
		r.say("  %.0f events/s: CPU per event with %d sessions of that with %d: %.2f\n", few.Rate, many.Agents, few.Agents, many.ProgramCPU/few.ProgramCPU)
	}
}

func (r *runner) tell(load string, rounds []Round, rate float64, program, beside string, figures ...figure) {
	for _, f := range figures {
		if all := Ratios(rounds, rate, program, beside, f.of); len(all) > 0 {
			r.say("  %s: the %s's %s of the %s's: %.2f [%.2f, %.2f]\n", load, program, f.name, beside, report.Median(all), all[0], all[len(all)-1])
		}
	}
}

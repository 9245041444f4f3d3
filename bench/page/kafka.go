package page

import (
	"fmt"
	"math"

	"github.com/taskbridge/taskbridge/bench/feed"
	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/run"
)

// kafkaTargets are those that need a Kafka.
func (f *Figures) kafkaTargets() []report.Target {
	r := f.Run
	beside := func(rounds []run.Round, of func(run.Round) float64, program, other string) report.Summary {
		if len(rounds) == 0 {
			return report.Summary{}
		}
		return report.Summarize(run.Ratios(rounds, rounds[0].Rate, program, other, of))
	}
	of := func(rounds []run.Round, program string, of func(run.Round) float64) report.Summary {
		var all []float64
		for _, x := range rounds {
			if x.Program == program {
				all = append(all, of(x))
			}
		}
		return report.Summarize(all)
	}
	cpu := func(r run.Round) float64 { return r.ProgramCPU }
	p99 := func(r run.Round) float64 { return r.P99 }
	longest := func(r run.Round) float64 { return r.Longest }
	var unchanged, drain []float64
	for _, x := range r.Outages {
		unchanged, drain = append(unchanged, x.During/x.Before), append(drain, x.Drain/x.Rate)
	}
	var all []report.Target
	add := func(part string, t report.Target) {
		t.Why = r.NotMeasured[part]
		all = append(all, t)
	}
	add("kafka-flood", report.Target{
		What: "Kafka, flood: events/s, of the limit's", Better: report.Higher, Must: 0.45, Reach: 0.6,
		Measured: beside(r.KafkaFlood, run.Round.EventsPerSecond, "bridge", "limit"),
	})
	add("kafka-flood", report.Target{
		What: "Kafka, flood: CPU per event, of the limit's", Better: report.Lower, Must: 3.5, Reach: 2.5, Measured: beside(r.KafkaFlood, cpu, "bridge", "limit"),
	})
	add("kafka-sink", report.Target{
		What: "Kafka, the sink alone: CPU per event, of kafka-go's Writer's", Better: report.Lower, Must: 0.75, Reach: 0.6,
		Measured: beside(r.KafkaSink, cpu, feed.Sink, feed.Writer),
	})
	add("kafka-paced", report.Target{
		What: "Kafka, 10,000 events/s: p99", Unit: "ms", Better: report.Lower, Must: 10, Reach: 5, Measured: of(r.KafkaPaced, "bridge", p99),
	})
	add("kafka-move", report.Target{
		What: "Kafka, leaders move: longest stall of a lane; to reach for: franz-go's in the same run", Unit: "ms", Better: report.Lower,
		Must: 150, Reach: math.Round(of(r.KafkaMoves, feed.Franz, longest).Median), Measured: of(r.KafkaMoves, feed.Sink, longest),
	})
	add("outage", report.Target{What: "one sink down: the other's p99, of that before", Better: report.Lower, Must: 1.25, Measured: report.Summarize(unchanged)})
	add("outage", report.Target{What: "one sink back: events/s while its backlog drains, of the steady rate", Better: report.Higher, Must: 5, Measured: report.Summarize(drain)})
	return all
}

// addKafka takes over what another run has measured with Kafka, and what it says of the parts that it lacks.
func (f *Figures) addKafka(o *run.Results, took func(into *[]run.Round, from []run.Round)) {
	took(&f.Run.KafkaFlood, o.KafkaFlood)
	took(&f.Run.KafkaPaced, o.KafkaPaced)
	took(&f.Run.KafkaSink, o.KafkaSink)
	took(&f.Run.KafkaMoves, o.KafkaMoves)
	if len(o.Outages) > 0 {
		f.Run.Outages = o.Outages
	}
	for part, why := range o.NotMeasured {
		if f.Run.NotMeasured == nil {
			f.Run.NotMeasured = map[string]string{}
		}
		f.Run.NotMeasured[part] = why
	}
}

func (f *Figures) kafkaSections() (all []section) {
	r := f.Run
	if len(r.KafkaFlood) > 0 {
		all = append(all, flood("Kafka: as fast as they go", "kafka-flood", r.KafkaFlood))
	}
	if len(r.KafkaPaced) > 0 {
		title := fmt.Sprintf("Kafka: %s events/s over 100 sockets", report.Figure(r.KafkaPaced[0].Rate))
		all = append(all, paced(title, "kafka-paced", r.KafkaPaced))
	}
	if len(r.KafkaSink) > 0 {
		cost := byRound(r.KafkaSink, "What does an event cost a Kafka client?", "CPU, µs per event", func(r run.Round) float64 { return r.ProgramCPU })
		all = append(all, section{"Kafka: the sink alone", "kafka-sink", rounds(r.KafkaSink), []drawing{{cost, false}}})
	}
	if len(r.KafkaMoves) > 0 {
		wait := byRound(r.KafkaMoves, "How long does an event wait at most when leaders move?", "ms", func(r run.Round) float64 { return r.Longest })
		all = append(all, section{"Kafka: leaders move", "kafka-move", movesTable(r.KafkaMoves), []drawing{{wait, false}}})
	}
	if len(r.Outages) > 0 {
		all = append(all, section{"One of two sinks is down", "outage", outageTable(r.Outages), nil})
	}
	return all
}

func movesTable(all []run.Round) report.Table {
	t := report.Table{Header: []string{"round", "client", "events/s", "longest wait ms", "brokers' CPU µs/event", "calibration MB/s", "other load", "topic"}}
	for _, r := range all {
		t.Rows = append(t.Rows, []string{
			fmt.Sprint(r.Number), r.Program, report.Figure(r.EventsPerSecond()), report.Figure(r.Longest), report.Figure(r.BrokerCPU), report.Figure(r.Calibration),
			fmt.Sprintf("%.0f %%", 100*r.OtherLoad), verified(r.Verified),
		})
	}
	return t
}

func outageTable(rounds []run.Outage) report.Table {
	t := report.Table{Header: []string{
		"round", "events/s, all the time", "Kafka stored nothing for", "NATS, p99 before, meanwhile, and while the backlog drained, ms", "events that waited",
		"until none had waited for more than a second", "stream", "topic", "calibration MB/s, other load with Kafka's",
	}}
	for i, x := range rounds {
		t.Rows = append(t.Rows, []string{
			fmt.Sprint(i + 1), report.Figure(x.Rate), fmt.Sprintf("%.0f s", x.Down),
			fmt.Sprintf("%s, %s, %s", report.Figure(x.Before), report.Figure(x.During), report.Figure(x.After)), fmt.Sprint(x.Backlog),
			fmt.Sprintf("%.1f s, %s events/s", x.Seconds, report.Figure(x.Drain)), verified(x.Flowing), verified(x.Held),
			fmt.Sprintf("%s, %.0f %%", report.Figure(x.Calibration), 100*x.OtherLoad),
		})
	}
	return t
}

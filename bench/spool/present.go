package spool

import (
	"fmt"

	"github.com/taskbridge/taskbridge/bench/report"
)

// of collects one figure of every round.
func (r Result) of(figure func(Round) float64) []float64 {
	all := make([]float64, len(r.Rounds))
	for i, round := range r.Rounds {
		all[i] = figure(round)
	}
	return all
}

// both collects one figure of either log.
func (r Result) both(figure func(Figures) float64) (own, raftWAL []float64) {
	return r.of(func(x Round) float64 { return figure(x.Own) }), r.of(func(x Round) float64 { return figure(x.RaftWAL) })
}

var figures = []struct {
	name string
	of   func(Figures) float64
}{
	{"records/s", func(f Figures) float64 { return f.PerSecond }},
	{"append to durable, p50, ms", func(f Figures) float64 { return f.P50 }},
	{"p99, ms", func(f Figures) float64 { return f.P99 }},
	{"p99.9, ms", func(f Figures) float64 { return f.P999 }},
	{"CPU per record, µs", func(f Figures) float64 { return f.CPU }},
}

// Targets are what the comparison is for.
func (r Result) Targets() []report.Target {
	ratio := func(figure func(Figures) float64) report.Summary {
		own, raftWAL := r.both(figure)
		return report.Summarize(report.Ratios(own, raftWAL))
	}
	return []report.Target{
		{
			What:   fmt.Sprintf("spool, %d appenders, fdatasync: durable records/s, of raft-wal with a group commit", r.Appenders),
			Better: report.Higher, Must: 1.2, Reach: 1.4, Measured: ratio(figures[0].of),
		},
	}
}

// Table is the figures of both, each with the median of its ratios.
func (r Result) Table() report.Table {
	t := report.Table{Header: []string{fmt.Sprintf("%d appenders, %d bytes, fdatasync", r.Appenders, r.RecordBytes), "own", "raft-wal", "own to raft-wal"}}
	for _, f := range figures {
		own, raftWAL := r.both(f.of)
		t.Rows = append(t.Rows, []string{
			f.name, report.Summarize(own).String(), report.Summarize(raftWAL).String(), report.Summarize(report.Ratios(own, raftWAL)).String(),
		})
	}
	return t
}

// Rate is the drawing of the rounds.
func (r Result) Rate() report.Chart {
	own, raftWAL := r.both(figures[0].of)
	c := report.Chart{
		Title: "How many records per second become durable and are read?", X: "round", Y: "records/s",
		Series: []report.Series{{Name: "own", Values: own}, {Name: "raft-wal", Values: raftWAL}},
	}
	for n := range r.Rounds {
		c.Names = append(c.Names, fmt.Sprint(n+1))
	}
	return c
}

// Wait is the drawing of how long an appender waits, the median of the rounds.
func (r Result) Wait() report.Chart {
	c := report.Chart{
		Title: "How long until a record is durable?", X: "percentile", Y: "append to durable (ms)", Names: []string{"p50", "p99", "p99.9"},
		Series: []report.Series{{Name: "own"}, {Name: "raft-wal"}},
	}
	for _, f := range figures[1:4] {
		own, raftWAL := r.both(f.of)
		c.Series[0].Values = append(c.Series[0].Values, report.Median(own))
		c.Series[1].Values = append(c.Series[1].Values, report.Median(raftWAL))
	}
	return c
}

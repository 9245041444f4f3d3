// Package page makes the page of a run's figures: bench/RESULTS.md, and a drawing for each question beside it.
package page

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/run"
	"github.com/taskbridge/taskbridge/bench/spool"
	"github.com/taskbridge/taskbridge/bench/verify"
)

// Figures are all that the page shows. What is missing was not measured, and is said to be.
type Figures struct {
	Machine     report.Machine `json:"machine"`
	Run         *run.Results   `json:"run,omitempty"`
	Spool       *spool.Result  `json:"spool,omitempty"`
	Allocations float64        `json:"allocations,omitempty"` // per event at flood, as TestWholeWayAllocations counts them

	commits []string // that Add has seen
}

// Write writes RESULTS.md and the folder results to dir.
func (f *Figures) Write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "results"), 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Results\n\nMade by `make bench` (%s); [how it measures](README.md). Ratios are medians of the rounds' ratios, [least–most].\n\n", f.Run.Began.Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "%s\n", f.Machine.Table())
	if len(f.commits) > 1 {
		fmt.Fprintf(&b, "The parts were measured at different commits: %s.\n\n", strings.Join(f.commits, ", "))
	}
	b.WriteString("## Targets\n\n")
	fmt.Fprintf(&b, "%s\n", report.Targets(f.targets()))
	if notes, err := os.ReadFile(filepath.Join(dir, "NOTES.md")); err == nil {
		b.Write(notes)
		b.WriteByte('\n')
	}
	for _, s := range f.sections() {
		fmt.Fprintf(&b, "## %s\n\n%s\n", s.title, s.table)
		for i, d := range s.drawings {
			name := fmt.Sprintf("%s-%d.svg", s.name, i+1)
			if err := draw(filepath.Join(dir, "results", name), d); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			fmt.Fprintf(&b, "![%s](results/%s)\n\n", d.chart.Title, name)
		}
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), append(bytes.TrimRight(b.Bytes(), "\n"), '\n'), 0o644)
}

// Add takes over every part that o has.
func (f *Figures) Add(o *Figures) {
	f.Machine = o.Machine
	if !slices.Contains(f.commits, o.Machine.Commit) {
		f.commits = append(f.commits, o.Machine.Commit)
	}
	if o.Spool != nil {
		f.Spool = o.Spool
	}
	if o.Allocations != 0 {
		f.Allocations = o.Allocations
	}
	switch {
	case o.Run == nil:
		return
	case f.Run == nil:
		f.Run = o.Run
		return
	}
	took := func(into *[]run.Round, from []run.Round) {
		if len(from) > 0 {
			*into = from
		}
	}
	took(&f.Run.Flood, o.Run.Flood)
	took(&f.Run.Paced, o.Run.Paced)
	took(&f.Run.Sessions, o.Run.Sessions)
	if len(o.Run.Idle) > 0 {
		f.Run.Idle = o.Run.Idle
	}
	if o.Run.Storm != nil {
		f.Run.Storm = o.Run.Storm
	}
	f.addKafka(o.Run, took)
}

// section is one kind of measurement.
type section struct {
	title, name string
	table       report.Table
	drawings    []drawing
}

type drawing struct {
	chart report.Chart
	lines bool
}

func draw(path string, d drawing) error {
	var b bytes.Buffer
	write := func(w io.Writer) error { return d.chart.WriteBars(w) }
	if d.lines {
		write = func(w io.Writer) error { return d.chart.WriteLines(w) }
	}
	if err := write(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func (f *Figures) sections() (all []section) {
	if len(f.Run.Flood) > 0 {
		all = append(all, flood("As fast as they go", "flood", f.Run.Flood))
	}
	for _, rate := range rates(f.Run.Paced) {
		all = append(all, paced(report.Figure(rate)+" events/s over 100 sockets", fmt.Sprintf("paced-%.0f", rate), at(f.Run.Paced, rate)))
	}
	if len(f.Run.Sessions) > 0 {
		all = append(all, section{"Few sessions and many", "sessions", rounds(f.Run.Sessions), nil})
	}
	if idle := f.Run.Idle; len(idle) > 0 {
		s := section{title: "Sessions at rest", name: "idle", table: idleTable(idle)}
		if c := idleChart(idle); len(c.Series) > 0 {
			s.drawings = []drawing{{c, false}}
		}
		all = append(all, s)
	}
	if s := f.Run.Storm; s != nil {
		all = append(all, section{"Every session lost at once", "storm", stormTable(s), nil})
	}
	all = append(all, f.kafkaSections()...)
	if f.Spool != nil {
		all = append(all, section{"The log on disk", "spool", f.Spool.Table(), []drawing{{f.Spool.Rate(), false}, {f.Spool.Wait(), true}}})
	}
	return all
}

// flood is a section of rounds as fast as the programs are.
func flood(title, name string, all []run.Round) section {
	return section{title, name, rounds(all), []drawing{
		{byRound(all, "How many events a second are stored?", "events/s", run.Round.EventsPerSecond), false},
		{byRound(all, "What does an event cost the program?", "CPU, µs per event", func(r run.Round) float64 { return r.ProgramCPU }), false},
	}}
}

// paced is a section of rounds at one rate.
func paced(title, name string, all []run.Round) section {
	question := fmt.Sprintf("How long from a frame's write to its storage, at %s events/s?", report.Figure(all[0].Rate))
	return section{title, name, rounds(all), []drawing{{latencies(all, question), true}}}
}

func rates(all []run.Round) (rates []float64) {
	seen := map[float64]bool{}
	for _, r := range all {
		if !seen[r.Rate] {
			seen[r.Rate] = true
			rates = append(rates, r.Rate)
		}
	}
	return rates
}

func at(all []run.Round, rate float64) (some []run.Round) {
	for _, r := range all {
		if r.Rate == rate {
			some = append(some, r)
		}
	}
	return some
}

// rounds is the table of every round, as measured.
func rounds(all []run.Round) report.Table {
	t := report.Table{Header: []string{
		"round", "program", "sockets", "events/s", "CPU µs/event", "broker's", "p50 ms", "p99 ms", "p99.9 ms", "RSS MB", "calibration MB/s", "other load", "stream",
	}}
	for _, r := range all {
		t.Rows = append(t.Rows, []string{
			fmt.Sprint(r.Number), r.Program, fmt.Sprint(r.Agents), report.Figure(r.EventsPerSecond()), report.Figure(r.ProgramCPU), report.Figure(r.BrokerCPU),
			latency(r.P50), latency(r.P99), latency(r.P999), memory(r.PeakRSS), report.Figure(r.Calibration),
			fmt.Sprintf("%.0f %%", 100*r.OtherLoad), verified(r.Verified),
		})
	}
	return t
}

// memory is in MB; "–" of a client alone, which is fed by what makes the events.
func memory(bytes int64) string {
	if bytes == 0 {
		return "–"
	}
	return report.Figure(float64(bytes) / 1e6)
}

func latency(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return report.Figure(ms)
}

func verified(v verify.Report) string {
	return fmt.Sprintf("%d: %d missing, %d twice, %d out of order", v.Events, v.Missing, v.Duplicates, v.KeyBreaks)
}

// byRound has a bar for each program in each round.
func byRound(all []run.Round, title, unit string, of func(run.Round) float64) report.Chart {
	c := report.Chart{Title: title, X: "round", Y: unit}
	series := map[string]int{}
	for _, r := range all {
		if name := fmt.Sprint(r.Number); !slices.Contains(c.Names, name) {
			c.Names = append(c.Names, name)
		}
		i, known := series[r.Program]
		if !known {
			i = len(c.Series)
			series[r.Program] = i
			c.Series = append(c.Series, report.Series{Name: r.Program})
		}
		c.Series[i].Values = append(c.Series[i].Values, of(r))
	}
	return c
}

// latencies has a line for each program: the medians of its rounds.
func latencies(all []run.Round, title string) report.Chart {
	c := report.Chart{Title: title, X: "share of the events that are stored within", Y: "ms", Names: []string{"50 %", "99 %", "99.9 %"}}
	for _, program := range []string{"bridge", "limit", "peer"} {
		var p50, p99, p999 []float64
		for _, r := range all {
			if r.Program == program {
				p50, p99, p999 = append(p50, r.P50), append(p99, r.P99), append(p999, r.P999)
			}
		}
		if len(p50) > 0 {
			c.Series = append(c.Series, report.Series{Name: program, Values: []float64{report.Median(p50), report.Median(p99), report.Median(p999)}})
		}
	}
	return c
}

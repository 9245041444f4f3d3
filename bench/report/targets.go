package report

import "fmt"

// Better says to which side of a bound a figure may lie.
type Better uint8

// Higher and Lower: at least the bound, at most the bound.
const (
	Higher Better = iota
	Lower
)

// Target is one line of what was aimed for.
type Target struct {
	What     string
	Unit     string // of all three figures: "ms", "KiB"; empty for ratios
	Better   Better
	Must     float64
	Reach    float64 // what is hoped for; 0: nothing beyond Must
	Measured Summary // its median is compared; the zero value: this run left it out
	Why      string  // it was left out; empty: nobody asked for it
}

// Verdict is what a measurement means.
type Verdict string

// The verdicts.
const (
	Reached     Verdict = "reached"      // also what was hoped for
	Met         Verdict = "met"          // what must be
	Missed      Verdict = "**missed**"   // not even that
	NotMeasured Verdict = "not measured" // by this run
)

// Verdict compares the measured median with the bounds.
func (t Target) Verdict() Verdict {
	within := func(bound float64) bool {
		if t.Better == Higher {
			return t.Measured.Median >= bound
		}
		return t.Measured.Median <= bound
	}
	switch {
	case t.Measured.N == 0:
		return NotMeasured
	case !within(t.Must):
		return Missed
	case t.Reach != 0 && within(t.Reach):
		return Reached
	}
	return Met
}

// Targets is the table of all of them.
func Targets(targets []Target) Table {
	table := Table{Header: []string{"target", "must", "reach for", "measured, median [least–most]", "verdict"}}
	for _, t := range targets {
		table.Rows = append(table.Rows, []string{t.What, t.bound(t.Must), t.bound(t.Reach), t.unit(t.Measured.String()), t.told()})
	}
	return table
}

// told is the verdict, with the reason where there is none.
func (t Target) told() string {
	v := t.Verdict()
	if v == NotMeasured && t.Why != "" {
		return fmt.Sprintf("%s: %s", v, t.Why)
	}
	return string(v)
}

func (t Target) bound(x float64) string {
	if x == 0 {
		return ""
	}
	sign := map[Better]string{Higher: "≥", Lower: "≤"}[t.Better]
	return t.unit(fmt.Sprintf("%s %g", sign, x))
}

func (t Target) unit(figure string) string {
	if t.Unit == "" || t.Measured.N == 0 && figure == "–" {
		return figure
	}
	return figure + " " + t.Unit
}

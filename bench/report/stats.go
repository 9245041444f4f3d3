// Package report makes a page of a benchmark's figures: on what machine they were measured, what they are, how far from the targets, and what
// that looks like. It measures nothing but the machine's own speed.
package report

import (
	"fmt"
	"slices"
)

// Summary is what the rounds of one measurement come to. The zero value: nothing was measured.
type Summary struct {
	Median, Min, Max float64
	N                int // rounds
}

// Summarize summarizes the figures of some rounds, in any order.
func Summarize(rounds []float64) Summary {
	if len(rounds) == 0 {
		return Summary{}
	}
	return Summary{Median: Median(rounds), Min: slices.Min(rounds), Max: slices.Max(rounds), N: len(rounds)}
}

// Median is the middle figure, of an even number the mean of the two in the middle; 0 of none.
func Median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// Ratios divides round by round. What disturbs a round, disturbs both programs that share it, so the median of ratios says more than the ratio of medians. It
// panics where a round lacks its other half.
func Ratios(of, to []float64) []float64 {
	if len(of) != len(to) {
		panic(fmt.Sprintf("report: ratios of %d rounds to %d", len(of), len(to)))
	}
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return ratios
}

// String is "median [min–max]", to three digits; "–" where nothing was measured.
func (s Summary) String() string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return Figure(s.Median)
	}
	return fmt.Sprintf("%s [%s–%s]", Figure(s.Median), Figure(s.Min), Figure(s.Max))
}

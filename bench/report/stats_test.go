package report

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		x    []float64
		want float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		if got := Median(tt.x); got != tt.want {
			t.Errorf("Median(%v): got %v, want %v", tt.x, got, tt.want)
		}
	}
	x := []float64{3, 1, 2}
	Median(x)
	if diff := cmp.Diff([]float64{3, 1, 2}, x); diff != "" {
		t.Errorf("the rounds were reordered (-want +got):\n%s", diff)
	}
}

func TestSummarize(t *testing.T) {
	if got, want := Summarize([]float64{5, 1, 2}), (Summary{Median: 2, Min: 1, Max: 5, N: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for s, want := range map[Summary]string{
		{}:                                       "–",
		{Median: 2, Min: 2, Max: 2, N: 1}:        "2.00",
		{Median: 2, Min: 0.5, Max: 10_000, N: 3}: "2.00 [0.500–10 000]",
	} {
		if got := s.String(); got != want {
			t.Errorf("%#v: got %q, want %q", s, got, want)
		}
	}
}

// The round in which the machine was slow disturbs both, and the ratio of neither.
func TestRatiosAreOfOneRound(t *testing.T) {
	got := Summarize(Ratios([]float64{100, 50, 104}, []float64{200, 100, 200}))
	if want := (Summary{Median: 0.5, Min: 0.5, Max: 0.52, N: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("a round without its other half: got no panic")
		}
	}()
	Ratios([]float64{1, 2}, []float64{1})
}

func TestFigure(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 1: "1.00", 0.007126: "0.00713", 1.274: "1.27", 12.74: "12.7", 999.6: "1 000", 48_213: "48 200", 1_234_567: "1 230 000", -1234: "-1 230",
		-123: "-123", math.Inf(1): "–", math.NaN(): "–",
	} {
		if got := Figure(x); got != want {
			t.Errorf("%v: got %q, want %q", x, got, want)
		}
	}
}

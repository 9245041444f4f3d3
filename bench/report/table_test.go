package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	got := Table{Header: []string{"what", "µs"}, Rows: [][]string{{"a|b", "1"}, {"two\nlines", ""}}}.String()
	want := "" +
		"| what      | µs  |\n" +
		"|-----------|-----|\n" +
		"| a\\|b      | 1   |\n" +
		"| two lines |     |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTargets(t *testing.T) {
	of := func(x float64) Summary { return Summarize([]float64{x}) }
	for _, tt := range []struct {
		target Target
		want   Verdict
	}{
		{Target{Better: Higher, Must: 0.65, Reach: 0.8, Measured: of(0.8)}, Reached},
		{Target{Better: Higher, Must: 0.65, Reach: 0.8, Measured: of(0.79)}, Met},
		{Target{Better: Higher, Must: 0.65, Reach: 0.8, Measured: of(0.64)}, Missed},
		{Target{Better: Lower, Must: 5, Reach: 2, Measured: of(2)}, Reached},
		{Target{Better: Lower, Must: 5, Reach: 2, Measured: of(5)}, Met},
		{Target{Better: Lower, Must: 5, Reach: 2, Measured: of(5.1)}, Missed},
		{Target{Better: Lower, Must: 1.1, Measured: of(0.1)}, Met}, // nothing beyond was hoped for
		{Target{Better: Lower, Must: 5, Reach: 2}, NotMeasured},
	} {
		if got := tt.target.Verdict(); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.target, got, tt.want)
		}
	}
	got := Targets([]Target{
		{What: "flood, of L1", Better: Higher, Must: 0.65, Reach: 0.8, Measured: Summarize([]float64{0.7, 0.71, 0.9})},
		{What: "p99", Unit: "ms", Better: Lower, Must: 5, Measured: Summarize([]float64{7.5})},
		{What: "memory", Unit: "KiB", Better: Lower, Must: 10, Reach: 8},
	}).String()
	want := "" +
		"| target       | must     | reach for | measured, median [least–most] | verdict      |\n" +
		"|--------------|----------|-----------|-------------------------------|--------------|\n" +
		"| flood, of L1 | ≥ 0.65   | ≥ 0.8     | 0.710 [0.700–0.900]           | met          |\n" +
		"| p99          | ≤ 5 ms   |           | 7.50 ms                       | **missed**   |\n" +
		"| memory       | ≤ 10 KiB | ≤ 8 KiB   | –                             | not measured |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

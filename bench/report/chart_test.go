package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var flood = Chart{
	Title: "How many events per second?", X: "round", Y: "events/s", Names: []string{"1", "2", "3"},
	Series: []Series{{"bridge", []float64{101e3, 99e3, 105e3}}, {"limit <L1>", []float64{151e3, 149e3, 155e3}}},
}

// texts are the words in a drawing.
func texts(t *testing.T, svg []byte) (words []string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			words = append(words, strings.TrimSpace(string(text)))
		}
	}
}

func TestChartSaysWhatItShows(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(Chart, io.Writer) error
		chart Chart
		ticks []string
	}{
		"bars": {Chart.WriteBars, flood, []string{"0", "100 000"}},
		"lines": {Chart.WriteLines, Chart{
			Title: "How late?", X: "percentile", Y: "ms", Names: []string{"p50", "p99", "p99.9"}, Series: []Series{{"bridge", []float64{0.25, 1.1, 12}}},
		}, []string{"0.2", "1", "10"}},
	} {
		t.Run(name, func(t *testing.T) {
			var first, second bytes.Buffer
			for _, w := range []io.Writer{&first, &second} {
				if err := tt.write(tt.chart, w); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Error("the same chart is drawn in two ways")
			}
			if n := first.Len(); n > 16<<10 {
				t.Errorf("got %d bytes, want a small file", n)
			}
			got := texts(t, first.Bytes())
			want := slices.Concat([]string{tt.chart.Title, tt.chart.X, tt.chart.Y}, tt.chart.Names, tt.ticks)
			for _, s := range tt.chart.Series {
				want = append(want, s.Name)
			}
			for _, w := range want {
				if !slices.Contains(got, w) {
					t.Errorf("the drawing does not say %q; it says %q", w, got)
				}
			}
		})
	}
}

func TestChartRefuses(t *testing.T) {
	many := make([]Series, 7)
	for i := range many {
		many[i] = Series{"s", []float64{1}}
	}
	for name, c := range map[string]Chart{
		"no names":        {Series: []Series{{"s", nil}}},
		"no series":       {Names: []string{"1"}},
		"too many series": {Names: []string{"1"}, Series: many},
		"a value missing": {Names: []string{"1", "2"}, Series: []Series{{"s", []float64{1}}}},
	} {
		if c.WriteBars(io.Discard) == nil || c.WriteLines(io.Discard) == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	zero := Chart{Names: []string{"1"}, Series: []Series{{"s", []float64{0}}}}
	if zero.WriteLines(io.Discard) == nil {
		t.Error("0 on a logarithmic axis: got no error")
	}
	if err := zero.WriteBars(io.Discard); err != nil {
		t.Errorf("bars of 0: got %v", err)
	}
}

func TestTicks(t *testing.T) {
	for _, tt := range []struct {
		of          string
		least, most float64
		want        []string
	}{
		{"linear", 0, 155e3, []string{"0", "25 000", "50 000", "75 000", "100 000", "125 000", "150 000"}},
		{"linear", 0, 0.9, []string{"0", "0.2", "0.4", "0.6", "0.8"}},
		{"log", 0.15, 6, []string{"0.2", "0.5", "1", "2", "5"}},
	} {
		ticks := linearTicks
		if tt.of == "log" {
			ticks = logTicks
		}
		var got []string
		for _, tick := range ticks(tt.least, tt.most) {
			got = append(got, tick.Label)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s from %g to %g (-want +got):\n%s", tt.of, tt.least, tt.most, diff)
		}
	}
}

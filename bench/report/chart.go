package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Chart is the answer to one question as a drawing: for each of the names along the x axis, the value of every series. The same chart is the same SVG, byte
// for byte, so that a diff shows what has changed. It is on white, because it is shown on pages of any colour.
type Chart struct {
	Title  string   // the question
	X, Y   string   // what the axes show, with the unit
	Names  []string // along the x axis: rounds, percentiles
	Series []Series // at most as many as there are colours, six
}

// Series is what one program did.
type Series struct {
	Name   string
	Values []float64 // one for each of Chart.Names
}

// colours are those of Okabe and Ito, which people with any colour vision can tell apart, without the two that are weak on white.
var colours = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff},
	{0xe6, 0x9f, 0x00, 0xff},
	{0x00, 0x9e, 0x73, 0xff},
	{0xd5, 0x5e, 0x00, 0xff},
	{0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff},
}

const (
	chartWidth  = 18 * vg.Centimeter
	chartHeight = 8 * vg.Centimeter
	legendWidth = 3.5 * vg.Centimeter // right of the plot, where it hides nothing
)

// WriteBars draws a group of bars for each name, from 0.
func (c Chart) WriteBars(w io.Writer) error {
	d, err := c.begin()
	if err != nil {
		return err
	}
	const share = 0.75 // of its place that a group takes
	place := (chartWidth - legendWidth - 2*vg.Centimeter) / vg.Length(len(c.Names))
	width := min(share*place/vg.Length(len(c.Series)), vg.Centimeter)
	for i, s := range c.Series {
		bars, err := plotter.NewBarChart(plotter.Values(s.Values), width)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		bars.LineStyle.Width = 0
		bars.Color = colours[i]
		bars.Offset = width * (vg.Length(i) - vg.Length(len(c.Series)-1)/2)
		d.plot.Add(bars)
		d.legend.Add(s.Name, bars)
	}
	d.plot.Y.Min = 0
	return d.write(w)
}

// WriteLines draws a line for each series over a logarithmic y axis: a distribution. Every value must be above 0.
func (c Chart) WriteLines(w io.Writer) error {
	d, err := c.begin()
	if err != nil {
		return err
	}
	for i, s := range c.Series {
		if least := slices.Min(s.Values); least <= 0 {
			return fmt.Errorf("%s: %g has no place on a logarithmic axis", s.Name, least)
		}
		points := make(plotter.XYs, len(s.Values))
		for x, y := range s.Values {
			points[x] = plotter.XY{X: float64(x), Y: y}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		line.Color, line.Width = colours[i], vg.Points(2)
		dots.Shape, dots.Color, dots.Radius = draw.CircleGlyph{}, colours[i], vg.Points(3)
		d.plot.Add(line, dots)
		d.legend.Add(s.Name, line, dots)
	}
	y := &d.plot.Y
	y.Scale, y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(logTicks)
	y.Min, y.Max = y.Min/1.5, y.Max*1.5 // a single value would have no extent
	return d.write(w)
}

// drawing is a chart under way.
type drawing struct {
	plot   *plot.Plot
	legend plot.Legend
}

func (c Chart) begin() (*drawing, error) {
	if len(c.Names) == 0 || len(c.Series) == 0 || len(c.Series) > len(colours) {
		return nil, fmt.Errorf("chart %q has %d names and %d series, of which there may be %d", c.Title, len(c.Names), len(c.Series), len(colours))
	}
	for _, s := range c.Series {
		if len(s.Values) != len(c.Names) {
			return nil, fmt.Errorf("chart %q: %s has %d values, want %d", c.Title, s.Name, len(s.Values), len(c.Names))
		}
	}
	d := &drawing{plot: plot.New(), legend: plot.NewLegend()}
	p := d.plot
	for _, style := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &d.legend.TextStyle,
	} {
		style.Font = font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Points(9))
	}
	p.Title.TextStyle.Font.Size = vg.Points(11)
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Title.Padding = vg.Points(8)
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(4), vg.Points(4)
	p.Y.Tick.Marker = plot.TickerFunc(linearTicks)
	d.legend.Top, d.legend.Left, d.legend.Padding = true, true, vg.Points(4)

	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 0xdd}
	p.Add(grid)
	p.NominalX(c.Names...)
	p.X.Min, p.X.Max = -0.5, float64(len(c.Names))-0.5
	p.X.Padding, p.X.Tick.Length = 0, 0
	return d, nil
}

func (d *drawing) write(w io.Writer) error {
	canvas := vgsvg.New(chartWidth, chartHeight)
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	margin := vg.Points(6)
	d.plot.Draw(draw.Crop(whole, margin, -legendWidth, margin, -margin))
	d.legend.Draw(draw.Crop(whole, chartWidth-legendWidth+margin, 0, 0, -4*margin))
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	// Where the font is missing, Arial has letters of the same widths.
	_, err := w.Write(bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,sans-serif;")))
	return err
}

// linearTicks are a few round figures.
func linearTicks(least, most float64) []plot.Tick {
	step := math.Pow10(int(math.Floor(math.Log10(most - least))))
	if (most-least)/step > 8 {
		step *= 2
	}
	for (most-least)/step < 4 {
		step /= 2
	}
	var ticks []plot.Tick
	for n := math.Ceil(least / step); n*step <= most; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: tickLabel(n * step)})
	}
	return ticks
}

// logTicks are 1, 2 and 5 of each decade.
func logTicks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := math.Pow10(int(math.Floor(math.Log10(least)))); decade <= most; decade *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if v := n * decade; least <= v && v <= most {
				ticks = append(ticks, plot.Tick{Value: v, Label: tickLabel(v)})
			}
		}
	}
	return ticks
}

func tickLabel(v float64) string {
	text := Figure(v)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

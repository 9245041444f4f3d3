package report

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Table is a Markdown table. Every row has as many cells as the header.
type Table struct {
	Header []string
	Rows   [][]string
}

// String is the table in Markdown, with columns padded so that it can be read as it is.
func (t Table) String() string {
	width := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(escape(cell)), 3)
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, cell := range cells {
			cell = escape(cell)
			b.WriteString("| " + cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("|\n")
	}
	line(t.Header)
	for _, w := range width {
		b.WriteString("|" + strings.Repeat("-", w+2))
	}
	b.WriteString("|\n")
	for _, row := range t.Rows {
		line(row)
	}
	return b.String()
}

// escape makes of a text one cell.
func escape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ")
}

// Figure is x to three digits, thousands set apart by spaces and without an exponent: "0.00713", "1.27", "48 200". What is not a number is "–".
func Figure(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	if x == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	scale := math.Pow10(digits)
	text := strconv.FormatFloat(math.Round(x*scale)/scale, 'f', max(digits, 0), 64)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + " " + whole[i:]
	}
	if rest == "" {
		return whole
	}
	return whole + "." + rest
}

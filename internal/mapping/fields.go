package mapping

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// Tolerant reading of single JSON values: numbers and booleans may come as text, and what is absent, null, of another kind or out of
// range is absent. A member that is written twice counts as last written.

// text is a string, or a number as it is written; empty where absent.
func text(v document.Value) string {
	if v.Kind() == document.Number {
		return v.Raw()
	}
	return v.Text()
}

// word is one of the vendor's own words, such as a status. It is published as it is, so it is cut to what a word may be: whatever else
// stands there is not to get past the privacy policy.
func word(v document.Value) string { return cut(text(v), maxWord) }

// maxWord bounds a word, in bytes.
const maxWord = 64

// integer is a whole number that int64 can hold.
func integer(v document.Value) event.Null[int64] {
	word := strings.TrimSpace(text(v))
	if word == "" {
		return event.Null[int64]{}
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return event.Some(n)
	}
	const exact = 1 << 53 // beyond it a float64 skips whole numbers
	if f := number(v); f.OK && f.V == math.Trunc(f.V) && math.Abs(f.V) <= exact {
		return event.Some(int64(f.V)) // 5.0, 1e3
	}
	return event.Null[int64]{}
}

// number is a finite number.
func number(v document.Value) event.Null[float64] {
	f, err := strconv.ParseFloat(strings.TrimSpace(text(v)), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return event.Null[float64]{}
	}
	return event.Some(f)
}

// boolean is true or false, or 1 or 0.
func boolean(v document.Value) event.Null[bool] {
	word := v.Raw()
	if v.Kind() == document.String {
		word = v.Text()
	}
	switch word {
	case "true", "1":
		return event.Some(true)
	case "false", "0":
		return event.Some(false)
	}
	return event.Null[bool]{}
}

// seconds is an instant written as seconds since 1970 or as RFC 3339 text; absent where it is 0 or RFC 3339 cannot express it. A fraction is
// cut off: where one feed writes it and another does not, the same moment must stay the same.
func seconds(v document.Value) event.Instant {
	n := integer(v).V
	if v.Kind() == document.String {
		if t, err := time.Parse(time.RFC3339, v.Text()); err == nil {
			n = t.Unix()
		}
	}
	if n < 0 || n > math.MaxInt64/1000 {
		return 0
	}
	if at := event.Seconds(n); at.Valid() {
		return at
	}
	return 0
}

// secondsSpan is a span written in seconds, in ms.
func secondsSpan(v document.Value) event.Null[int64] {
	n := integer(v)
	if !n.OK || n.V < 0 || n.V > math.MaxInt64/1000 {
		return event.Null[int64]{}
	}
	return event.Some(n.V * 1000)
}

// span is the time between two instants, absent where one is or where they are in the wrong order.
func span(from, to event.Instant) event.Null[int64] {
	if from == 0 || to < from {
		return event.Null[int64]{}
	}
	return event.Some(int64(to - from))
}

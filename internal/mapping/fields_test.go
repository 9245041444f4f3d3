package mapping

import (
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// value is a document that is one value.
func value(t *testing.T, text string) document.Value {
	t.Helper()
	var d document.Document
	if !d.Read([]byte(text)) {
		t.Fatalf("not JSON: %s", text)
	}
	return d.Root()
}

func TestFieldsTolerant(t *testing.T) {
	none := event.Null[int64]{}
	for doc, want := range map[string]event.Null[int64]{
		`5`: event.Some[int64](5), `"5"`: event.Some[int64](5), `" -5 "`: event.Some[int64](-5), `5.0`: event.Some[int64](5),
		`1e3`: event.Some[int64](1000), `0`: event.Some[int64](0), `9223372036854775807`: event.Some[int64](1<<63 - 1),
		`9223372036854775808`: none, `1e300`: none, `5.5`: none, `""`: none, `"soon"`: none, `"NaN"`: none,
		`null`: none, `true`: none, `[5]`: none, `{}`: none,
	} {
		if got := integer(value(t, doc)); got != want {
			t.Errorf("integer of %s: got %v, want %v", doc, got, want)
		}
	}
	if got := integer(document.Value{}); got != none {
		t.Errorf("integer of nothing: got %v, want none", got)
	}
	for doc, want := range map[string]event.Instant{
		`1767323050`: 1767323050000, `"1767323050"`: 1767323050000, `0`: 0, `-1`: 0, `253402300799`: 253402300799000, `253402300800`: 0,
		`9223372036854775807`: 0, `18446744073709552`: 0, `null`: 0, `"soon"`: 0,
		`"2026-01-02T03:04:10Z"`: 1767323050000, `"2026-01-02T05:04:10.999+02:00"`: 1767323050000, `"1970-01-01T00:00:00Z"`: 0,
		`"1969-12-31T23:59:59Z"`: 0, `"2026-02-30T03:04:10Z"`: 0, `"2026-01-02"`: 0, `true`: 0,
	} {
		if got := seconds(value(t, doc)); got != want {
			t.Errorf("seconds of %s: got %d, want %d", doc, got, want)
		}
	}
	for doc, want := range map[string]event.Null[int64]{
		`120`: event.Some[int64](120000), `0`: event.Some[int64](0), `-1`: none, `9223372036854775807`: none, `null`: none,
	} {
		if got := secondsSpan(value(t, doc)); got != want {
			t.Errorf("secondsSpan of %s: got %v, want %v", doc, got, want)
		}
	}
	for doc, want := range map[string]event.Null[bool]{
		`true`: event.Some(true), `1`: event.Some(true), `"1"`: event.Some(true), `"true"`: event.Some(true),
		`false`: event.Some(false), `0`: event.Some(false), `"0"`: event.Some(false), `2`: {}, `null`: {}, `"yes"`: {},
	} {
		if got := boolean(value(t, doc)); got != want {
			t.Errorf("boolean of %s: got %v, want %v", doc, got, want)
		}
	}
	for doc, want := range map[string]event.Null[float64]{
		`66.6`: event.Some(66.6), `"66.6"`: event.Some(66.6), `1e999`: {}, `"Inf"`: {}, `"NaN"`: {}, `null`: {},
	} {
		if got := number(value(t, doc)); got != want {
			t.Errorf("number of %s: got %v, want %v", doc, got, want)
		}
	}
}

func TestFieldsSpan(t *testing.T) {
	for _, c := range []struct {
		from, to event.Instant
		want     event.Null[int64]
	}{
		{1000, 3000, event.Some[int64](2000)},
		{1000, 1000, event.Some[int64](0)},
		{3000, 1000, event.Null[int64]{}},
		{0, 1000, event.Null[int64]{}},
		{1000, 0, event.Null[int64]{}},
	} {
		if got := span(c.from, c.to); got != c.want {
			t.Errorf("span(%d, %d): got %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

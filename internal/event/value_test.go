package event_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// The way that instants are written against the standard library's: each ninth day that RFC 3339 can express, at a moment that moves through the day,
// each day of four years, each second of a day, each millisecond of a second, the ends of the range, and what is beyond them.
func TestInstantIsWrittenAsTheStandardLibraryDoes(t *testing.T) {
	const day, last = 24 * 60 * 60 * 1000, 253402300799999
	check := func(i event.Instant) {
		t.Helper()
		if got, want := i.String(), time.UnixMilli(int64(i)).UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Fatalf("%d: got %s, want %s", int64(i), got, want)
		}
	}
	for n := event.Instant(0); n*day <= last; n += 9 {
		check(n*day + (n*7_919_003+1)%day)
	}
	for n := range event.Instant(4 * 366) {
		check(1767312000000 + n*day)
	}
	for s := event.Instant(0); s < day; s += 1000 {
		check(1767312000000 + s)
	}
	for ms := range event.Instant(1000) {
		check(1767323050000 + ms)
	}
	for range 100_000 {
		check(1 + event.Instant(rand.Int64N(last)))
	}
	for _, i := range []event.Instant{1, last, last + 1, -1, -62135596800000, math.MaxInt64, math.MinInt64} {
		check(i)
	}
	if got := event.Instant(0).String(); got != "" {
		t.Errorf("absent: got %q, want empty", got)
	}
}

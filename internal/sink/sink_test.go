package sink

import (
	"testing"
	"time"
	"unsafe"
)

// seen is how a time reads on a wall clock that went on by so much since, and on a monotonic one that did not: the machine was suspended, or the clock set.
func seen(t *testing.T, at time.Time, later time.Duration) time.Time {
	t.Helper()
	mono, wall := time.Since(at), time.Since(at.Round(0))
	// The first word of a Time with a monotonic reading has the seconds of the wall clock above 30 bits of nanoseconds. No function changes one reading alone.
	*(*uint64)(unsafe.Pointer(&at)) -= uint64(later/time.Second) << 30 //nolint:gosec // see above
	if m, w := time.Since(at)-mono, time.Since(at.Round(0))-wall-later; m.Abs() > time.Minute || w.Abs() > time.Minute {
		t.Fatalf("a Time is not made like this any more: the readings moved by %v and %v", m, w)
	}
	return at
}

func TestAge(t *testing.T) {
	hourAgo := time.Now().Add(-time.Hour)
	for name, tt := range map[string]struct {
		sent time.Time
		want time.Duration
	}{
		"both clocks":             {hourAgo, time.Hour},
		"wall clock alone":        {hourAgo.Round(0), time.Hour},
		"suspended since":         {seen(t, hourAgo, 24*time.Hour), 25 * time.Hour},
		"wall clock was set back": {seen(t, hourAgo, -24*time.Hour), time.Hour},
	} {
		if got := (&Batch{FirstSent: tt.sent}).Age(); (got - tt.want).Abs() > time.Minute {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

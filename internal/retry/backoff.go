package retry

import (
	"math/rand/v2"
	"time"
)

// Backoff computes waits that double from Base to Cap, with full jitter: the wait is uniform between 0 and the bound, so
// that many sessions lost at once do not come back at once. It forgets only after a healthy spell: a peer that accepts and closes
// at once must not be dialled at full speed for ever. Not safe for concurrent use.
type Backoff struct {
	Base, Cap time.Duration
	Healthy   time.Duration // an attempt that lasted at least this long resets the growth
	attempts  int
}

// Next is the wait before the next attempt, after one that lasted lived. rnd yields uniform numbers in [0, 1).
func (b *Backoff) Next(lived time.Duration, rnd func() float64) time.Duration {
	if lived >= b.Healthy {
		b.attempts = 0
	}
	bound := b.Cap
	if b.Base <= b.Cap>>b.attempts { // asked this way round it cannot overflow, which would mean no wait at all
		bound = b.Base << b.attempts
	}
	b.attempts++
	return time.Duration(rnd() * float64(bound))
}

// Jitter is the source of randomness for [Backoff.Next] in production.
func Jitter() float64 { return rand.Float64() }

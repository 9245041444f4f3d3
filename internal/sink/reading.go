package sink

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
)

// Reading is how far a sink has come in reading what its broker holds, for [Sink.Landed]. Where others write to the same log it may take minutes, in which
// nothing is sent: the log tells of it, and Ready. The zero value reads nothing. Safe for concurrent use.
type Reading struct {
	mu        sync.Mutex
	log       *zap.Logger
	begun     time.Time // zero: nothing is read
	moved     time.Time // when it last came further
	told      time.Time // in the log; at first when it began
	read, all int64
	stuck     error // why it does not come further
}

// ReasonReading is the reason of [Reading.Ready] while something comes.
const ReasonReading = "reading"

const (
	readingTold  = 10 * time.Second // between two lines of the log
	readingShown = 2 * time.Second  // less is no news
)

// Begin begins to read; all is how many records there are at most.
func (r *Reading) Begin(log *zap.Logger, all int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.log, r.begun, r.moved, r.told, r.read, r.all, r.stuck = log, now, now, now, 0, all, nil
}

// Advance takes note that n records more are read, or are found not to be there.
func (r *Reading) Advance(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += n
	r.moved, r.stuck = time.Now(), nil
	if r.moved.Sub(r.told) >= readingTold {
		r.told = r.moved
		r.log.Info("reading what the broker holds, nothing is sent meanwhile", zap.Int64("records", r.read), zap.Int64("of", r.all))
	}
}

// Stuck takes note that err keeps the reading from coming further, and reports whether to try again from here: for as long as was read before, and at least for
// least. So a fault late in a long reading costs its own time only, and one at the beginning is for the publisher to wait out.
func (r *Reading) Stuck(err error, least time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = err
	return time.Since(r.moved) < max(least, r.moved.Sub(r.begun))
}

// End ends the reading, wherever it is.
func (r *Reading) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told != r.begun {
		r.log.Info("the reading has ended", zap.Int64("records", r.read), zap.Int64("of", r.all), zap.Duration("after", time.Since(r.begun)))
	}
	r.begun = time.Time{}
}

// Ready is nil unless something is read for longer than two seconds: then why nothing comes, or an error of the reason [ReasonReading] that says how far it is.
func (r *Reading) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.begun.IsZero() || time.Since(r.begun) < readingShown:
		return nil
	case r.stuck != nil && time.Since(r.moved) >= readingShown:
		return r.stuck
	}
	return retry.Reasonf(ReasonReading, "reading what the broker holds, %d of %d records so far; nothing is sent meanwhile", r.read, r.all)
}

package roster

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
)

// Read reads a whole roster: the vendor's ids of the agents, each once, in any order. They stay the reader's, who may return the same slice again; nobody
// writes to it. An error, marked as internal/retry has it, says nothing of who the agents are. It returns soon after ctx ends. One goroutine calls it.
type Read func(ctx context.Context) ([]string, error)

// Watch reads a roster again and again. What was read last stays valid while reading fails: an error never removes an agent. Make it with
// [NewWatch], then [Watch.Run] it once.
type Watch struct {
	source  string
	read    Read
	every   time.Duration
	log     *zap.Logger
	metrics *Metrics
	missing map[string]time.Time // agents on the roster whom the last reading lacked: since which one. Of Run's goroutine

	mu      sync.Mutex
	failure error
}

// NewWatch makes a watch of the named source's roster that reads it every so often.
func NewWatch(source string, read Read, every time.Duration, log *zap.Logger, m *Metrics) *Watch {
	m.start(source)
	return &Watch{source: source, read: read, every: every, log: log, metrics: m}
}

const (
	firstRetry, longestRetry = time.Second, time.Minute // after a failure; never longer than the refresh interval
	refusedRetry             = 5 * time.Minute          // after one that will not go away by itself
)

const (
	shortestAbsence = 4 * time.Second // of an agent before she is removed: less than a file's refresh interval, at its shortest
	doubtful        = time.Minute     // the longest pause while somebody is missing: with a long refresh interval she is not kept for twice as long
)

// Run reads until ctx ends, and calls tell with the sorted ids when the roster is known for the first time and whenever it has changed. Calls come
// from this goroutine, one at a time.
//
// Whoever is read is on the roster at once. Whoever is on it and is not read leaves it when the next reading, at least 4 s later, lacks her too: a file
// that is being written holds a part of itself for a moment, a worker who moves between two pages of a listing may be seen on neither, and ending a
// session is the one mistake here that cannot be taken back.
func (w *Watch) Run(ctx context.Context, tell func(ids []string)) {
	var roster []string
	var backoff retry.Backoff
	known := false
	for {
		ids, err := w.read(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := w.every - time.Duration(retry.Jitter()*float64(w.every)/10) // so that several bridges do not ask at once
		w.note(err, known)
		if err != nil {
			wait = w.waitAfter(err, &backoff)
		} else {
			backoff = retry.Backoff{}
			now := w.settle(roster, ids, time.Now())
			if !known || !slices.Equal(now, roster) {
				w.changed(roster, now)
				tell(now)
			}
			known, roster = true, now
			if len(w.missing) > 0 {
				wait = min(wait, doubtful)
			}
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// settle is the sorted roster after a reading of ids: these, and those of the roster before who are not known to be gone yet.
func (w *Watch) settle(before, ids []string, now time.Time) []string {
	if !slices.IsSorted(ids) {
		ids = slices.Sorted(slices.Values(ids))
	}
	if slices.Equal(ids, before) {
		w.missing = nil
		return before
	}
	var missing map[string]time.Time
	var absent []string
	doubted := 0
	for _, id := range before {
		if _, found := slices.BinarySearch(ids, id); found {
			continue
		}
		since, again := w.missing[id]
		switch {
		case !again:
			since = now
			doubted++
		case now.Sub(since) >= shortestAbsence:
			continue
		}
		if missing == nil {
			missing = map[string]time.Time{}
		}
		missing[id] = since
		absent = append(absent, id)
	}
	if doubted > 0 {
		w.log.Info("agents are not on the roster any more: kept until it is read like this once more", zap.Int("agents", doubted))
	}
	w.missing = missing
	roster := slices.Concat(ids, absent)
	slices.Sort(roster)
	return roster
}

// waitAfter is how long to stay away after err.
func (w *Watch) waitAfter(err error, b *retry.Backoff) time.Duration {
	b.Base, b.Cap, b.Healthy = min(firstRetry, w.every), min(longestRetry, w.every), time.Hour // an attempt never heals: success makes a new one
	wait := max(b.Next(0, retry.Jitter), retry.Delay(err))
	if retry.IsPermanent(err) {
		wait = max(wait, time.Duration((0.5+0.5*retry.Jitter())*float64(refusedRetry)))
	}
	return wait
}

// note counts a reading and logs it when it fails in a new way, or succeeds again. known: there is a roster from before.
func (w *Watch) note(err error, known bool) {
	w.metrics.read(w.source, err)
	w.mu.Lock()
	before := w.failure
	w.failure = err
	w.mu.Unlock()
	switch {
	case err != nil && before != nil && before.Error() == err.Error(): // told
	case err != nil && known:
		w.log.Warn("the roster cannot be read: the last one stays", zap.String("reason", retry.ReasonOf(err)), zap.Error(err))
	case err != nil:
		w.log.Warn("the roster cannot be read: nobody is served until it is", zap.String("reason", retry.ReasonOf(err)), zap.Error(err))
	case err == nil && before != nil:
		w.log.Info("the roster is read again")
	}
}

func (w *Watch) changed(before, now []string) {
	came := 0
	for _, id := range now {
		if _, had := slices.BinarySearch(before, id); !had {
			came++
		}
	}
	w.log.Info("roster changed", zap.Int("agents", len(now)), zap.Int("added", came), zap.Int("removed", len(before)+came-len(now)))
}

// Failing is why the last reading failed; nil when it did not, or there was none. Safe for concurrent use.
func (w *Watch) Failing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

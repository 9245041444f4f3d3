package bridge

import (
	"sync"
	"time"
)

// proof keeps the log's alive notes in an order in which a crash hides nothing. After a crash, everybody who was watched has a gap from the last
// note in the log, so a note must not be later than what was provably received by then of anybody.
//
// The fleet looks at one agent after another. An Up behind its back, of somebody it has passed already, brings frames that were received since that session
// began; a note that was reckoned without them must not come after that Up's records. So Ups are counted, and the fleet reckons again.
type proof struct {
	mu    sync.Mutex
	ups   int
	noted time.Time // the last one in the log
}

// until returns until when all of a's feeds are provably received, or the gaps that she is owed begin; zero: no feed is up and nothing is owed.
func (a *agent) until() time.Time {
	var t time.Time
	for _, s := range a.sessions {
		for _, f := range s.feeds {
			if f.up && !s.deaf {
				t = oldest(t, f.heard)
			}
		}
	}
	for _, d := range a.debts {
		t = oldest(t, d.from)
	}
	return t
}

// oldest is the earlier of two times, of which zero is none.
func oldest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

const aliveEvery = time.Second

// alive notes in the log until when everything that is watched was provably received. It is called with f.mu held.
func (f *fleet) alive() {
	for range 3 { // more Ups in one moment than that: the next second will do
		f.proof.mu.Lock()
		ups := f.proof.ups
		f.proof.mu.Unlock()
		t := f.provenUntil()
		f.proof.mu.Lock()
		if ups == f.proof.ups {
			_ = f.note(t) // refused: the older one stays, and a crash makes longer gaps
			f.proof.mu.Unlock()
			return
		}
		f.proof.mu.Unlock()
	}
}

func (f *fleet) provenUntil() time.Time {
	var t time.Time
	look := func(a *agent) {
		a.mu.Lock()
		defer a.mu.Unlock()
		t = oldest(t, a.until())
	}
	for _, m := range f.order {
		look(m.agent)
		if m.farewell != nil { // that she is off the roster is not told yet
			t = oldest(t, m.left)
		}
	}
	for _, a := range f.recovered {
		look(a)
	}
	if t.IsZero() {
		return f.now()
	}
	return t
}

// note is called with proof.mu held.
func (h *heart) note(t time.Time) error {
	if t.Equal(h.proof.noted) {
		return nil
	}
	if err := h.log.Alive(t); err != nil {
		return err
	}
	h.proof.noted = t
	return nil
}

// rising is called by an Up with proof.mu held until its records are appended: what is received from since on is behind no later note.
func (h *heart) rising(since time.Time) error {
	h.proof.ups++
	return h.note(oldest(h.proof.noted, since))
}

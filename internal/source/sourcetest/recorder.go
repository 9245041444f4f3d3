// Package sourcetest is the suite that every source passes: [Run]. Its [Recorder] is an intake for a source's own tests.
package sourcetest

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/source"
)

// patience bounds each wait for something that must come. It is long, because it only passes when a test fails.
const patience = 20 * time.Second

// Verb is one of the calls of an intake.
type Verb string

// The calls of an intake.
const (
	Up    Verb = "up"
	Down  Verb = "down"
	Beat  Verb = "beat"
	Frame Verb = "frame"
)

// Call is one call of an intake.
type Call struct {
	Verb    Verb
	Feed    source.Feed
	At      time.Time // Up: since; Beat: at; Frame: Received
	RenewBy time.Time // Up
	Body    string    // Frame
	Err     error     // Down
}

// Recorder is an intake that keeps the calls of one Serve and fails the test on one that breaks the contract: a beat or frame of the live
// feed while it is not up, a call without a time, or any after Serve has returned.
type Recorder struct {
	t     testing.TB
	mu    sync.Mutex
	calls []Call
	up    bool
	over  bool
	more  chan struct{} // closed and replaced at each call
}

var _ source.Intake = (*Recorder)(nil)

// NewRecorder makes an intake for one Serve.
func NewRecorder(t testing.TB) *Recorder { return &Recorder{t: t, more: make(chan struct{})} }

// Up implements [source.Intake].
func (r *Recorder) Up(f source.Feed, since, renewBy time.Time) {
	if !renewBy.IsZero() && !renewBy.After(since) {
		r.t.Errorf("Up: got renewBy %v, want zero or after since %v", renewBy, since)
	}
	r.note(Call{Verb: Up, Feed: f, At: since, RenewBy: renewBy})
}

// Down implements [source.Intake].
func (r *Recorder) Down(f source.Feed, cause error) { r.note(Call{Verb: Down, Feed: f, Err: cause}) }

// Beat implements [source.Intake].
func (r *Recorder) Beat(f source.Feed, at time.Time) { r.note(Call{Verb: Beat, Feed: f, At: at}) }

// Frame implements [source.Intake].
func (r *Recorder) Frame(f source.Frame) {
	r.note(Call{Verb: Frame, Feed: f.Feed, At: f.Received, Body: string(bytes.Clone(f.Body))})
}

func (r *Recorder) note(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		r.t.Errorf("%s of feed %v after Serve has returned", c.Verb, c.Feed)
	case c.Verb != Down && c.At.IsZero():
		r.t.Errorf("%s of feed %v without a time", c.Verb, c.Feed)
	case c.Verb != Up && c.Feed == source.Live && !r.up:
		r.t.Errorf("%s of feed %v, which is not up", c.Verb, c.Feed)
	}
	if c.Feed == source.Live && (c.Verb == Up || c.Verb == Down) {
		r.up = c.Verb == Up
	}
	r.calls = append(r.calls, c)
	close(r.more)
	r.more = make(chan struct{})
}

// Calls returns what was called so far.
func (r *Recorder) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Call(nil), r.calls...)
}

// Wait returns the calls as soon as they satisfy done; what names that in the failure.
func (r *Recorder) Wait(what string, done func([]Call) bool) []Call {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		calls, more := append([]Call(nil), r.calls...), r.more
		r.mu.Unlock()
		if done(calls) {
			return calls
		}
		select {
		case <-more:
		case <-timeout:
			r.t.Fatalf("waited in vain for %s; got the calls %v", what, calls)
		}
	}
}

// WaitLive waits for the live feed.
func (r *Recorder) WaitLive() {
	r.t.Helper()
	r.Wait("Up of the live feed", func(calls []Call) bool { return Has(calls, Up, source.Live, "") })
}

// WaitBody waits for a live frame with the given content.
func (r *Recorder) WaitBody(body string) {
	r.t.Helper()
	r.Wait("a live frame "+body, func(calls []Call) bool { return Has(calls, Frame, source.Live, body) })
}

// Has reports whether there is a call of the verb and feed with the given body.
func Has(calls []Call, v Verb, f source.Feed, body string) bool {
	for _, c := range calls {
		if c.Verb == v && c.Feed == f && c.Body == body {
			return true
		}
	}
	return false
}

func (r *Recorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

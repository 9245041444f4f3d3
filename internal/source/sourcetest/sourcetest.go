package sourcetest

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
)

// Stage is how far the vendor lets a new session get.
type Stage int

// The stages of a session.
const (
	Dialing    Stage = iota // it takes the connection and does not answer
	CatchingUp              // it accepts the session and does not answer what the source reads at its start
	Live                    // it answers everything
)

// Fixture is a source and the scripted vendor that it talks to. All funcs may be called from any goroutine.
type Fixture struct {
	Source source.Source
	Agent  source.Agent
	// Hold lets sessions that start from now on get as far as the stage; before the first call it is Live.
	Hold func(Stage)
	// Held receives a value whenever a session waits at the stage of Hold. Not used for Live.
	Held <-chan struct{}
	// Push sends one content frame with the given body to every live session.
	Push func(body string)
	// Cut ends every session from the vendor's side.
	Cut func()
}

// Run checks that a source keeps the contract of package source. fixture is called once per sub-test; its vendor ends with t.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	t.Run("ctx ends during the dial", func(t *testing.T) { stops(t, fixture(t), Dialing) })
	t.Run("ctx ends during catch-up", func(t *testing.T) { stops(t, fixture(t), CatchingUp) })
	t.Run("ctx ends while live", func(t *testing.T) {
		f := fixture(t)
		x := Start(t, f.Source, f.Agent)
		x.WaitLive()
		x.canceled(t)
	})
	t.Run("ctx ended before", func(t *testing.T) {
		f := fixture(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := f.Source.Serve(ctx, &f.Agent, NewRecorder(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
	t.Run("frames arrive in order", func(t *testing.T) {
		f := fixture(t)
		x := Start(t, f.Source, f.Agent)
		x.WaitLive()
		bodies := []string{`{"n":1}`, `{"n":2}`, `{"n":3}`}
		for _, body := range bodies {
			f.Push(body)
		}
		x.WaitBody(bodies[2])
		got := 0
		for _, c := range x.Calls() {
			if c.Verb == Frame && got < len(bodies) && c.Body == bodies[got] {
				got++
			}
		}
		if got != len(bodies) {
			t.Errorf("got the calls %v, want among them the frames %v in order", x.Calls(), bodies)
		}
	})
	t.Run("sessions of one agent overlap", func(t *testing.T) {
		f := fixture(t)
		a, b := Start(t, f.Source, f.Agent), Start(t, f.Source, f.Agent)
		a.WaitLive()
		b.WaitLive()
		f.Push(`{"to":"both"}`)
		a.WaitBody(`{"to":"both"}`)
		b.WaitBody(`{"to":"both"}`)
		a.canceled(t)
		f.Push(`{"to":"second"}`)
		b.WaitBody(`{"to":"second"}`)
	})
	t.Run("the vendor's end has a reason", func(t *testing.T) {
		f := fixture(t)
		x := Start(t, f.Source, f.Agent)
		x.WaitLive()
		f.Cut()
		err := x.End()
		if reason := retry.ReasonOf(err); reason == "other" || !bounded.MatchString(reason) {
			t.Errorf("got reason %q of %v, want a word from the source's table", reason, err)
		}
		if errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want why the vendor ended it", err)
		}
	})
}

var bounded = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)

// stops checks that a session held at the stage ends when its ctx does, without having told anything.
func stops(t *testing.T, f Fixture, stage Stage) {
	f.Hold(stage)
	x := Start(t, f.Source, f.Agent)
	select {
	case <-f.Held:
	case <-time.After(patience):
		t.Fatal("waited in vain for the session to get to the stage")
	}
	x.canceled(t)
	if got := x.Calls(); len(got) > 0 {
		t.Errorf("got the calls %v, want none", got)
	}
}

// canceled ends ctx and checks Serve's error.
func (x *Session) canceled(t *testing.T) {
	t.Helper()
	x.Cancel()
	if err := x.End(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

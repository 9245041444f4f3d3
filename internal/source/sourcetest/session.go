package sourcetest

import (
	"context"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/source"
)

// Session is one Serve on a goroutine of its own.
type Session struct {
	*Recorder
	Cancel context.CancelFunc
	t      testing.TB
	ended  chan struct{}
	err    error
}

// Start starts a Serve of a. It is canceled when the test ends, if not before, and then waited for.
func Start(t testing.TB, s source.Source, a source.Agent) *Session {
	ctx, cancel := context.WithCancel(context.Background())
	x := &Session{Recorder: NewRecorder(t), Cancel: cancel, t: t, ended: make(chan struct{})}
	go func() {
		defer close(x.ended)
		x.err = s.Serve(ctx, &a, x.Recorder)
		x.close()
	}()
	t.Cleanup(func() {
		cancel()
		_ = x.End()
	})
	return x
}

// End waits for Serve to return and gives its error, which is never nil.
func (x *Session) End() error {
	x.t.Helper()
	select {
	case <-x.ended:
	case <-time.After(patience):
		x.t.Fatalf("Serve did not return within %v; got the calls %v", patience, x.Calls())
	}
	if x.err == nil {
		x.t.Error("Serve returned nil, want the reason for its end")
	}
	return x.err
}

// Ended reports whether Serve has returned.
func (x *Session) Ended() bool {
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

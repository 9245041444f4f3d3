// Package e2e holds the end-to-end tests that are too long for `make test`: a thousand sessions, and the built program's own processes. .ci/run has
// them as a stage; by hand: make e2e.
package e2e

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onlyObserved: no agent is disturbed by being watched.
func onlyObserved(t *testing.T, state simulator.State) {
	t.Helper()
	if state.PresenceChanges != 0 || state.Evictions != 0 || state.ClientFrames != 0 {
		t.Errorf("observing must change nothing: %d presence changes, %d evictions, %d frames and pings sent to the vendor",
			state.PresenceChanges, state.Evictions, state.ClientFrames)
	}
}

// patience is how long a condition may take to come true; only a test that fails waits for so long.
const patience = 2 * time.Minute

// until returns when the condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

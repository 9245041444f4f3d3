// Package e2e holds the end-to-end tests that are too long for `make test`: a thousand sessions (make e2e, a stage of .ci/run), and the built program
// against every fault of the simulator (make verify).
package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "taskbridge-e2e-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// observed says what clients did that a mere observer does not.
func observed(s simulator.State) error {
	if s.PresenceChanges != 0 || s.Evictions != 0 || s.ClientFrames != 0 {
		return fmt.Errorf("observing must change nothing: %d presence changes, %d evictions, %d frames and pings sent to the vendor",
			s.PresenceChanges, s.Evictions, s.ClientFrames)
	}
	return nil
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

// Package e2e holds the end-to-end tests on real processes: the built program against every fault of the simulator, of the listing of its agents and of
// the way to the vendor, of its broker and of its disk; a bridge of the same parts that dies between any two steps; and two in one process, because they
// measure it or replace its resolver. With -short, as in make test, it runs those of each family that end within seconds; those that take minutes are for
// make verify.
package e2e

import (
	"flag"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var verifying = flag.Bool("e2e.verify", false, "run also what takes minutes")

func TestMain(m *testing.M) {
	if text := os.Getenv(lifeVariable); text != "" {
		os.Exit(live(text))
	}
	var err error
	if folder, err = os.MkdirTemp("", "taskbridge-e2e-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// long leaves the test to make e2e.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long: see make e2e")
	}
}

// verify leaves the test to make verify.
func verify(t *testing.T) {
	t.Helper()
	if !*verifying {
		t.Skip("takes minutes: see make verify")
	}
}

// patience is how long a condition may take to come true; only a test that fails waits for so long.
const patience = 2 * time.Minute

// until returns when the condition holds. What takes long is looked at less often: reading a long stream has its cost.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); {
		waited := time.Since(began)
		if waited > patience {
			t.Fatalf("never came true: %s", what)
		}
		<-time.After(min(max(waited/10, 50*time.Millisecond), time.Second))
	}
}

// Package sinktest is the suite that every sink passes. It drives the sink as the bridge's publisher does, disturbs the broker, and
// reads the broker back: what counts is what is stored, not what the sink says.
package sinktest

import (
	"context"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// Fixture is one sink, connected or about to be, on a broker that no other check uses. All of it but Change is required; the functions may be
// called from any goroutine.
type Fixture struct {
	Sink sink.Sink
	// Stored reads back the ids of all records that the broker holds, in an order that keeps that of each lane. It does not go through
	// what Hold and Cut disturb.
	Stored func(context.Context) ([]string, error)
	// TooLarge is a number of data bytes that the broker never takes.
	TooLarge int
	// Hold keeps the broker's answers from the sink while it is on; what the sink sends arrives.
	Hold func(on bool)
	// Cut breaks the sink's connections; answers that were held are lost. New connections are possible at once.
	Cut func()
	// Restart ends the broker and starts it again with the same data and address.
	Restart func() error
	// Recreate replaces the broker's log by an empty one of the same name.
	Recreate func() error
	// Change gives the broker other lanes, as more partitions. Nil for a sink whose lanes are always the same.
	Change func() error
}

// Check is one promise of the sink contract. Run returns what is broken, so that a test can show that a wrong sink is found out. The
// sink may be closed afterwards.
type Check struct {
	Name string
	run  func(context.Context, *Fixture) error
}

// Run opens the fixture's sink and tries the promise.
func (c Check) Run(ctx context.Context, f *Fixture) error {
	if err := open(ctx, f.Sink); err != nil {
		return err
	}
	return c.run(ctx, f)
}

// Checks are all promises.
var Checks = []Check{
	{"lanes", checkLanes},
	{"delivers in order", checkDelivery},
	{"order and no repeats when answers are lost", checkLostAnswers},
	{"order and no repeats when the broker restarts", checkRestart},
	{"rejected records are set aside", checkRejected},
	{"landed finds what was stored after the mark", checkLanded},
	{"landed finds what was stored unanswered", checkLandedOpen},
	{"landed ends with its context", checkLandedContext},
	{"a re-created log is noticed", checkRecreated},
	{"other lanes are told and taken in order", checkChange},
	{"unsure when the broker may have forgotten", checkUnsure},
	{"close waits for answers", checkCloseWaits},
	{"close gives up with its context", checkCloseGivesUp},
}

// limit is per check; it is for a sink that hangs, not for a slow machine.
const limit = 60 * time.Second

// Run runs every check as a subtest, each with a fixture of its own.
func Run(t *testing.T, fixture func(*testing.T) *Fixture) {
	for _, c := range Checks {
		t.Run(c.Name, func(t *testing.T) {
			f := fixture(t)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := c.Run(ctx, f); err != nil {
				t.Error(err)
			}
			f.Hold(false)
			if err := f.Sink.Close(ctx); err != nil {
				t.Errorf("Close after the check: %v", err)
			}
		})
	}
}

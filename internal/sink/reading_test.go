package sink_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// TestReading: a long reading is told, and a fault ends it only when it lasts for longer than what was read before.
func TestReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			r     sink.Reading
			log   sinktest.Lines
			fault = retry.Reason(errors.New("no leader"), "no_leader")
		)
		ready := func(want string) {
			t.Helper()
			if err := r.Ready(); (err == nil) != (want == "") || err != nil && retry.ReasonOf(err) != want {
				t.Errorf("Ready: got %v, want %q", err, want)
			}
		}
		ready("")
		r.Begin(log.Logger(), 1000)
		ready("")
		if r.Stuck(fault, 0) {
			t.Error("goes on though nothing was read")
		}
		if !r.Stuck(fault, time.Second) {
			t.Error("does not go on for the second that it is to bear")
		}
		for range 60 {
			time.Sleep(time.Second)
			r.Advance(10)
		}
		ready(sink.ReasonReading)
		if n := strings.Count(log.String(), "reading what the broker holds"); n != 6 {
			t.Errorf("told %d times in a minute:\n%s", n, log.String())
		}
		time.Sleep(59 * time.Second)
		if !r.Stuck(fault, 0) {
			t.Error("gives up after 59 s without progress, though it has read for a minute")
		}
		ready("no_leader")
		time.Sleep(time.Second)
		if r.Stuck(fault, 0) {
			t.Error("goes on after a minute without progress")
		}
		r.Advance(1)
		ready(sink.ReasonReading)
		r.End()
		ready("")
	})
}

package spool

import (
	"io"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

// TestDiskFreesWhatNobodyWants: a sink that wants nothing has nothing to save, and must hold no segment for it.
func TestDiskFreesWhatNobodyWants(t *testing.T) {
	nothing := CursorOptions{Keep: func(*event.Header) bool { return false }}
	for name, free := range map[string]func(*Disk) error{
		"with the views": func(d *Disk) error { return d.Checkpoint(func(io.Writer) error { return nil }) },
		"for want of room": func(d *Disk) error {
			d.mu.Lock()
			d.normal = d.used // as with a bound that is reached
			d.mu.Unlock()
			d.state.Lock()
			d.noted = d.end // as after a checkpoint
			d.state.Unlock()
			return d.Skip(func([]Skipped) error { panic("something is skipped") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := opened(t, Options{Dir: dir})
			facts := cursorOf(t, d, "facts", CursorOptions{})
			cursorOf(t, d, "nothing", nothing)
			for n := 0; n < 300; n += 10 {
				add(t, d, n, n+10)
			}
			finish(facts, take(t, facts))
			if err := facts.Save(nil); err != nil {
				t.Fatal(err)
			}
			if n := len(segmentsIn(t, dir)); n < 5 {
				t.Fatalf("got %d segments, want several", n)
			}
			if err := free(d); err != nil {
				t.Fatal(err)
			}
			if n := len(segmentsIn(t, dir)); n != 1 {
				t.Errorf("got %d segments, want the newest alone", n)
			}
		})
	}
}

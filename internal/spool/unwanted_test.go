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

// TestDiskChangedFilter: a filter that is another one at the next start decides on what waits and on what comes; what was left out stays left out.
func TestDiskChangedFilter(t *testing.T) {
	only := func(agent string) CursorOptions {
		return CursorOptions{Keep: func(h *event.Header) bool { return h.Agent == agent }}
	}
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "some", only("a1"))
	add(t, d, 0, 9)
	got := take(t, c)
	finish(c, got[:1])
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	closed(t, d)

	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "some", only("a2"))
	add(t, d, 9, 15)
	if now := names(take(t, c)); names(got) != "1 4 7" || now != "11 14" {
		t.Errorf("got %s, and with the other filter %s; want 1 4 7, and neither 4 and 7, which waited, nor 2, 5 and 8, which were left out", names(got), now)
	}
	if n, _, _ := c.Pending(); n != 2 {
		t.Errorf("got %d pending, want 2", n)
	}
	closed(t, d)

	d = opened(t, Options{Dir: dir}) // without Save: what was not saved is decided anew
	c = cursorOf(t, d, "some", CursorOptions{})
	if now := names(take(t, c)); now != "4 7 "+count(9, 15) {
		t.Errorf("without a filter: got %s, want what was left out since the last Save, and waits again", now)
	}
	closed(t, d)
}

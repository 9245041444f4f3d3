package spool

import (
	"io"
	"testing"
)

// A record for one sink alone is one that every view has known since it was first appended: folding it again would bring back what has ended.
func TestRecoverLeavesOutWhatIsForOneSink(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 1, 3)
	if _, err := d.AppendFor("facts", numbered(1)); err != nil {
		t.Fatal(err)
	}
	add(t, d, 3, 4)
	closed(t, d)
	d = opened(t, Options{Dir: dir})
	facts := cursorOf(t, d, "facts", CursorOptions{})
	var folded []string
	if _, err := d.Recover(func(io.Reader) error { return nil }, func(r *Record) { folded = append(folded, r.Header.ID) }); err != nil {
		t.Fatal(err)
	}
	if len(folded) != 3 || folded[0] != "1" || folded[1] != "2" || folded[2] != "3" {
		t.Errorf("got %v folded, want 1, 2 and 3, each once", folded)
	}
	if n := len(take(t, facts)); n != 4 {
		t.Errorf("got %d records for the sink, want all 4", n)
	}
}

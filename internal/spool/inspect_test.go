package spool

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// TestInspect reads beside a log that is open, and changes nothing.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	for n := range 100 {
		e := numbered(n)
		e.Header.Type = event.Types[n%2]
		if _, err := d.Append(Normal, e); err != nil {
			t.Fatal(err)
		}
		if n%10 == 0 {
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	alive := time.Unix(1_800_000_000, 0)
	if err := d.Alive(alive); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	got := take(t, c)
	finish(c, got[:30])
	c.Done(got[50].Pos)
	if err := c.Save([]byte("mark")); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(func(w io.Writer) error { _, err := io.WriteString(w, "views"); return err }); err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	held := r.Records
	if held < 70 || held > 100 || len(r.Segments) != d.Status().Segments || r.Corrupt != 0 || r.Torn != 0 || !r.Alive.Equal(alive) || r.Views != 5 ||
		r.Types[event.Types[0]]+r.Types[event.Types[1]] != held {
		t.Errorf("got %+v", r)
	}
	want := CursorReport{Sink: "facts", Next: got[30].Pos, Pending: 69, Oldest: 1030, Mark: 4}
	if len(r.Cursors) != 1 || r.Cursors[0] != want {
		t.Errorf("got %+v, want %+v", r.Cursors, want)
	}
	closed(t, d)

	change(t, segmentsIn(t, dir)[0], func(b []byte) []byte { b[at(b, 30)]++; return b })
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = Inspect(dir); err != nil || r.Corrupt != 1 || r.Records != held-1 {
		t.Errorf("damaged: got %+v and %v", r, err)
	}
	if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) {
		t.Errorf("files: got %v and %v, want %v", after, err, before)
	}
}

// TestForget: what a sink that is gone had not got is freed, and nothing else is.
// TestInspectBesideABridge: the file of a segment that is removed meanwhile may be another one's by the time it is read. That is no damage.
func TestInspectBesideABridge(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	cursorOf(t, d, "facts", CursorOptions{})
	for n := range 100 {
		add(t, d, n, n+1)
	}
	v, err := look(OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	first := segmentsIn(t, dir)[0]
	if err := os.Rename(first, first+tempSuffix); err != nil {
		t.Fatal(err)
	}
	change(t, first+tempSuffix, func(b []byte) []byte { clear(b); return b })
	r, err := v.report()
	if err != nil || r.Corrupt != 0 || r.Records == 0 || r.Records >= 100 {
		t.Errorf("got %+v and %v, want what the other segments have, and no damage", r, err)
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	if err := Forget(dir, "gone"); err == nil || !strings.Contains(err.Error(), "is no spool") {
		t.Errorf("an empty folder: got %v", err)
	}
	d := opened(t, Options{Dir: dir})
	for _, sink := range []string{"gone", "kept"} {
		if err := cursorOf(t, d, sink, CursorOptions{}).Save(nil); err != nil {
			t.Fatal(err)
		}
	}
	add(t, d, 0, 5)
	if err := Forget(dir, "gone"); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("an open log: got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Forget(dir, "never"); err == nil {
		t.Error("a sink that is not there: got no error")
	}
	if err := Forget(dir, "gone"); err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cursors) != 1 || r.Cursors[0].Sink != "kept" || r.Cursors[0].Pending != 5 {
		t.Errorf("got %+v, want the other sink with all it had not got", r.Cursors)
	}
}

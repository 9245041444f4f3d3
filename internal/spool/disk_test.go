package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"

	"github.com/taskbridge/taskbridge/internal/event"
)

// opened opens a log with small segments, and closes it with the test if that has not.
func opened(t testing.TB, o Options) *Disk {
	t.Helper()
	if o.segmentBytes == 0 {
		o.segmentBytes = 8 << 10
	}
	if o.Log == nil {
		o.Log = zaptest.NewLogger(t)
	}
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func cursorOf(t testing.TB, l Log, sink string, o CursorOptions) Cursor {
	t.Helper()
	c, err := l.Cursor(sink, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closed(t testing.TB, d *Disk) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func numbered(n int) *event.Encoded {
	return &event.Encoded{
		Header: event.Header{ID: fmt.Sprint(n), PartitionKey: fmt.Sprint("k", n%7), Agent: fmt.Sprint("a", n%3), Recorded: event.Instant(1000 + n)},
		Data:   bytes.Repeat([]byte{byte('a' + n%26)}, 100),
	}
}

// add appends the records first to last-1 and waits until they are durable.
func add(t testing.TB, d *Disk, first, last int) []Pos {
	t.Helper()
	var p []Pos
	for n := first; n < last; n++ {
		pos, err := d.Append(Normal, numbered(n))
		if err != nil {
			t.Fatalf("Append %d: %v", n, err)
		}
		p = append(p, pos)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	return p
}

func take(t testing.TB, c Cursor) []Record {
	t.Helper()
	var all []Record
	for {
		r, err := c.Next(10)
		if err != nil {
			t.Fatal(err)
		}
		if len(r) == 0 {
			return all
		}
		all = append(all, r...)
	}
}

func names(records []Record) string {
	var ids []string
	for _, r := range records {
		ids = append(ids, r.Header.ID)
	}
	return strings.Join(ids, " ")
}

func finish(c Cursor, records []Record) {
	for _, r := range records {
		c.Done(r.Pos)
	}
}

func count(first, last int) string {
	var ids []string
	for n := first; n < last; n++ {
		ids = append(ids, fmt.Sprint(n))
	}
	return strings.Join(ids, " ")
}

// segmentsIn are the segments in a folder, without the spare.
func segmentsIn(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(found, func(name string) bool {
		b, err := os.ReadFile(name)
		return os.IsNotExist(err) || err == nil && !slices.ContainsFunc(b[:min(len(b), headerBytes)], func(c byte) bool { return c != 0 })
	})
}

func TestDiskAcrossProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	now := time.Unix(1_800_000_000, 0)
	d := opened(t, Options{Dir: dir, Now: func() time.Time { return now }})
	c := cursorOf(t, d, "facts", CursorOptions{})
	if c.Replaying() || c.Mark() != nil {
		t.Error("new log: replaying, or a mark")
	}
	add(t, d, 0, 100)
	got := take(t, c)
	if names(got) != count(0, 100) {
		t.Fatalf("got %s", names(got))
	}
	want := numbered(50)
	if diff := cmp.Diff(Record{Pos: got[50].Pos, Epoch: now.Unix(), Key: Hash("k1"), Header: want.Header, Data: want.Data}, got[50]); diff != "" {
		t.Errorf("record differs (-want +got):\n%s", diff)
	}
	for _, r := range got {
		if r.Pos%2 == 0 {
			c.Done(r.Pos)
		}
	}
	if err := c.Save([]byte("mark")); err != nil {
		t.Fatal(err)
	}
	finish(c, got[:10]) // not saved
	last := got[99].Pos
	closed(t, d)
	if _, err := d.Append(Normal, numbered(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: got %v", err)
	}

	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "facts", CursorOptions{})
	if string(c.Mark()) != "mark" || !c.Replaying() {
		t.Errorf("got mark %q, replaying %v", c.Mark(), c.Replaying())
	}
	if n, _, oldest := c.Pending(); n != 50 || oldest != 1000 {
		t.Errorf("Pending: got %d, oldest %d; want 50 and 1000", n, oldest)
	}
	var old []Record
	for c.Replaying() {
		<-c.Ready()
		r, err := c.Next(7)
		if err != nil {
			t.Fatal(err)
		}
		old = append(old, r...)
	}
	if len(old) != 50 || old[3].Pos%2 == 0 || old[3].Epoch != now.Unix() || !bytes.Equal(old[3].Data, numbered(6).Data) {
		t.Fatalf("got %d records again: %s", len(old), names(old))
	}
	if p := add(t, d, 100, 101); p[0] <= last {
		t.Errorf("position %d is not above %d", p[0], last)
	}
	if fresh := take(t, c); names(fresh) != "100" {
		t.Errorf("after the replay: got %s", names(fresh))
	}
	// Again, in any order, without what is done.
	c.Done(old[1].Pos)
	ask := []Pos{old[40].Pos, old[1].Pos, old[2].Pos, old[39].Pos}
	again, err := c.Read(ask)
	if err != nil || names(again) != names([]Record{old[40], old[2], old[39]}) {
		t.Errorf("Read: got %s and %v", names(again), err)
	}
}

func TestDiskFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "spool")
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "s/1", CursorOptions{})
	add(t, d, 0, 1)
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if p := info.Mode().Perm(); p != 0o600 && !e.IsDir() || p != 0o700 && e.IsDir() {
			t.Errorf("%s: mode %o", path, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second process: got %v, want the folder and the process", err)
	}
	closed(t, d)
	closed(t, opened(t, Options{Dir: dir}))
}

func TestDiskOptions(t *testing.T) {
	if _, err := Open(Options{}); err == nil {
		t.Error("without a folder: got no error")
	}
	if _, err := Open(Options{Dir: t.TempDir(), MaxBytes: 1 << 20}); err == nil {
		t.Error("too small a bound: got no error")
	}
	d := opened(t, Options{Dir: t.TempDir()})
	cursorOf(t, d, "a", CursorOptions{})
	if _, err := d.Cursor("a", CursorOptions{}); err == nil {
		t.Error("a cursor twice: got no error")
	}
	if _, err := d.Recover(nil, func(*Record) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Cursor("b", CursorOptions{}); err == nil {
		t.Error("a cursor after Recover: got no error")
	}
	if _, err := d.AppendFor("nobody", numbered(1)); err == nil {
		t.Error("for a sink that is not there: got no error")
	}
}

// TestDiskFreesWhatIsDone: a stuck lane holds its own segment and none after it, and what a crash brings back of the others stays done.
func TestDiskFreesWhatIsDone(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 0, 10)
	for n := 10; n < 300; n += 10 { // groups, so that several segments come to be
		add(t, d, n, n+10)
	}
	all := take(t, c)
	full := len(segmentsIn(t, dir))
	if full < 5 {
		t.Fatalf("got %d segments, want several", full)
	}
	middle := segmentsIn(t, dir)[2]
	kept, err := os.ReadFile(middle)
	if err != nil {
		t.Fatal(err)
	}
	finish(c, all[1:])
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsIn(t, dir)); n != full {
		t.Errorf("without a checkpoint: got %d segments, want all %d", n, full)
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsIn(t, dir)); n != 2 { // the first and the newest
		t.Errorf("got %d segments, want 2", n)
	}
	used := d.Status().Used
	closed(t, d)

	// A removal that did not survive.
	if err := os.WriteFile(middle, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "facts", CursorOptions{})
	rest := take(t, c)
	if names(rest) != "0" || d.Status().Corrupt != 0 {
		t.Errorf("got %s and %+v, want 0 alone and no damage", names(rest), d.Status())
	}
	finish(c, rest)
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsIn(t, dir)); n != 1 {
		t.Errorf("all done: got %d segments, want the newest alone", n)
	}
	if now := d.Status().Used; now <= 0 || now >= used {
		t.Errorf("got %d bytes used, %d before", now, used)
	}
}

func TestDiskKeepAndNow(t *testing.T) {
	dir := t.TempDir()
	asked := map[string]int{}
	keep := func(h *event.Header) bool {
		asked[h.ID]++
		return h.Agent == "a1"
	}
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "some", CursorOptions{Keep: keep})
	all := cursorOf(t, d, "all", CursorOptions{})
	add(t, d, 0, 9)
	if _, err := d.AppendFor("some", numbered(9)); err != nil {
		t.Fatal(err)
	}
	add(t, d, 10, 11)
	if got := names(take(t, c)); got != "1 4 7 9 10" {
		t.Errorf("got %s", got)
	}
	if got := names(take(t, all)); got != count(0, 9)+" 10" {
		t.Errorf("got %s", got)
	}
	if n, _, _ := c.Pending(); n != 5 {
		t.Errorf("got %d pending, want 5", n)
	}
	if asked["3"] != 1 || asked["9"] != 0 {
		t.Errorf("asked: got %v, want each once, and not what is for the sink alone", asked)
	}
	closed(t, d) // without Save: all is asked again

	clear(asked)
	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "some", CursorOptions{Keep: keep})
	all = cursorOf(t, d, "all", CursorOptions{})
	late := cursorOf(t, d, "late", CursorOptions{Now: true})
	if got := names(take(t, c)); got != "1 4 7 9 10" || asked["3"] != 1 {
		t.Errorf("second process: got %s, asked %v", got, asked)
	}
	if c.Replaying() {
		t.Error("replaying after the last")
	}
	if got := names(take(t, all)); got != count(0, 9)+" 10" {
		t.Errorf("second process: got %s", got)
	}
	if n, _, _ := late.Pending(); n != 0 || late.Replaying() {
		t.Errorf("a late sink has %d pending", n)
	}
	add(t, d, 11, 12)
	closed(t, d) // without Save

	d = opened(t, Options{Dir: dir})
	late = cursorOf(t, d, "late", CursorOptions{Now: true})
	if got := names(take(t, late)); got != "11" {
		t.Errorf("late, opened before: got %s", got)
	}
}

// TestDiskForgottenSink: what a sink has not got is held while it is not configured.
func TestDiskForgottenSink(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "old", CursorOptions{})
	add(t, d, 0, 3)
	finish(c, take(t, c)[:1])
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	closed(t, d)

	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "new", CursorOptions{})
	for n := 3; n < 200; n += 10 {
		add(t, d, n, n+10)
	}
	finish(c, take(t, c))
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := d.Status().Forgotten; !slices.Equal(got, []string{"old"}) {
		t.Errorf("forgotten: got %v", got)
	}
	closed(t, d)

	d = opened(t, Options{Dir: dir})
	if got := names(take(t, cursorOf(t, d, "old", CursorOptions{}))); got != count(1, 203) {
		t.Errorf("got %s", got)
	}
}

func TestDiskRecover(t *testing.T) {
	dir := t.TempDir()
	type result struct {
		Views, Folded string
		Alive         time.Time
	}
	var c Cursor
	restart := func(load func(io.Reader) error) (*Disk, result) {
		d := opened(t, Options{Dir: dir})
		c = cursorOf(t, d, "facts", CursorOptions{})
		var r result
		var folded []Record
		if load == nil {
			load = func(from io.Reader) error {
				b, err := io.ReadAll(from)
				r.Views = string(b)
				return err
			}
		}
		var err error
		r.Alive, err = d.Recover(load, func(one *Record) { folded = append(folded, *one) })
		if err != nil {
			t.Fatal(err)
		}
		r.Folded = names(folded)
		return d, r
	}
	check := func(got, want result) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("differs (-want +got):\n%s", diff)
		}
	}
	at := func(s int64) time.Time { return time.Unix(1_800_000_000+s, 5) }
	alive := func(d *Disk, s int64) {
		t.Helper()
		if err := d.Alive(at(s)); err != nil {
			t.Fatal(err)
		}
	}
	d, got := restart(nil)
	check(got, result{})
	add(t, d, 0, 3)
	alive(d, 9)
	alive(d, 4) // the newest in the order of the log counts
	closed(t, d)

	d, got = restart(nil)
	check(got, result{Folded: count(0, 3), Alive: at(4)})
	add(t, d, 3, 5) // a new segment repeats the alive record
	err := d.Checkpoint(func(w io.Writer) error {
		add(t, d, 5, 6) // appending goes on
		_, err := io.WriteString(w, "views")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	if err := d.Checkpoint(func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return wrong }); !errors.Is(err, wrong) {
		t.Errorf("failing save: got %v", err)
	}
	closed(t, d)

	d, got = restart(nil)
	check(got, result{Views: "views", Folded: "5", Alive: at(4)})
	closed(t, d)

	d, got = restart(func(io.Reader) error { return wrong })
	check(got, result{Folded: count(0, 6), Alive: at(4)})
	if d.Status().Corrupt == 0 {
		t.Error("views that cannot be loaded are not reported")
	}
	// All that the log holds may go, and the alive record with it.
	for n := 6; n < 200; n += 10 {
		add(t, d, n, n+10)
	}
	finish(c, take(t, c))
	alive(d, 20)
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsIn(t, dir)); n != 1 {
		t.Errorf("got %d segments, want the newest alone", n)
	}
	closed(t, d)
	d, got = restart(nil)
	check(got, result{Alive: at(20)})
	closed(t, d)
}

// TestDiskRecordsStay: what was read from disk is not touched by what is read later.
func TestDiskRecordsStay(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 0, 40)
	closed(t, d)
	d = opened(t, Options{Dir: dir}) // from now on nothing of it is in memory
	c := cursorOf(t, d, "facts", CursorOptions{})
	if _, err := d.Recover(nil, func(*Record) {}); err != nil {
		t.Fatal(err)
	}
	all := take(t, c)
	for i := range all {
		if _, err := c.Read(positions(all[i : i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) != 40 {
		t.Fatalf("got %d records, want 40", len(all))
	}
	for i, r := range all {
		if want := numbered(i).Data; !bytes.Equal(r.Data, want) {
			t.Errorf("record %d has become %q, want %q", i, r.Data, want)
		}
	}
}

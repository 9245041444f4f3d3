package spool

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// change rewrites a file.
func change(t testing.TB, name string, how func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, how(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// at is where the data of the record numbered n lies; its first byte says so.
func at(b []byte, n int) int { return bytes.Index(b, numbered(n).Data) }

// groups makes a log in which every record is a group.
func groups(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	cursorOf(t, d, "facts", CursorOptions{})
	for i := range n {
		add(t, d, i, i+1)
	}
	closed(t, d)
	return dir
}

func TestDiskDamage(t *testing.T) {
	first := func(t *testing.T, dir string) string { t.Helper(); return segmentsIn(t, dir)[0] }
	last := func(t *testing.T, dir string) string {
		t.Helper()
		all := segmentsIn(t, dir)
		return all[len(all)-1]
	}
	for _, tc := range []struct {
		name    string
		records int
		damage  func(t *testing.T, dir string)
		want    string
		corrupt int64
		cut     bool
	}{
		{"sound", 10, func(*testing.T, string) {}, count(0, 10), 0, false},
		{"flipped in an early record of the last segment", 10, func(t *testing.T, dir string) {
			change(t, last(t, dir), func(b []byte) []byte { b[at(b, 3)]++; return b })
		}, "0 1 2 4 5 6 7 8 9", 1, false},
		{"flipped in the last record", 10, func(t *testing.T, dir string) {
			change(t, last(t, dir), func(b []byte) []byte { b[at(b, 9)]++; return b })
		}, count(0, 9), 0, true},
		{"cut by seven bytes", 10, func(t *testing.T, dir string) {
			change(t, last(t, dir), func(b []byte) []byte { return b[:len(b)-7] })
		}, count(0, 9), 0, true},
		{"the last hundred bytes are zeros", 10, func(t *testing.T, dir string) {
			change(t, last(t, dir), func(b []byte) []byte { clear(b[len(b)-100:]); return b })
		}, count(0, 9), 0, true},
		{"two records are zeros in an older segment", 100, func(t *testing.T, dir string) {
			change(t, first(t, dir), func(b []byte) []byte { clear(b[at(b, 3)+5 : at(b, 5)+5]); return b })
		}, "0 1 2 " + count(6, 100), 3, false},
		{"the end of an older segment is gone", 100, func(t *testing.T, dir string) {
			change(t, first(t, dir), func(b []byte) []byte { return b[:at(b, 20)] })
		}, "", -1, false},
		{"the header of the last segment", 10, func(t *testing.T, dir string) {
			change(t, last(t, dir), func(b []byte) []byte { b[9]++; return b })
		}, count(0, 10), 1, false},
		{"the header of an older segment", 100, func(t *testing.T, dir string) {
			change(t, segmentsIn(t, dir)[1], func(b []byte) []byte { clear(b[:40]); return b })
		}, count(0, 100), 1, false},
		{"a segment that was never used", 10, func(t *testing.T, dir string) {
			if err := os.WriteFile(segmentName(dir, 77), make([]byte, 4096), 0o600); err != nil {
				t.Fatal(err)
			}
		}, count(0, 10), 0, false},
		{"a segment of rubbish", 10, func(t *testing.T, dir string) {
			if err := os.WriteFile(segmentName(dir, 77), bytes.Repeat([]byte("rubbish"), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, count(0, 10), 1, false},
		{"half made files", 10, func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, checkpointName+tempSuffix), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, count(0, 10), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := groups(t, tc.records)
			tc.damage(t, dir)
			d := opened(t, Options{Dir: dir})
			c := cursorOf(t, d, "facts", CursorOptions{})
			if _, err := d.Recover(nil, func(*Record) {}); err != nil {
				t.Fatal(err)
			}
			got := take(t, c)
			s := d.Status()
			if tc.corrupt < 0 { // how many depends on the layout
				if want := int64(tc.records - len(got)); s.Corrupt != want || want == 0 {
					t.Errorf("got %d records and %d corrupt of %d", len(got), s.Corrupt, tc.records)
				}
			} else if names(got) != tc.want || s.Corrupt != tc.corrupt {
				t.Errorf("got %s and %d corrupt; want %s and %d", names(got), s.Corrupt, tc.want, tc.corrupt)
			}
			if s.Cut > 0 != tc.cut {
				t.Errorf("got %d bytes cut", s.Cut)
			}
			if _, err := os.Stat(filepath.Join(dir, quarantineName)); (err == nil) != (tc.corrupt != 0) {
				t.Errorf("quarantine with %d corrupt: %v", tc.corrupt, err)
			}
			if n, _, _ := c.Pending(); n != len(got) {
				t.Errorf("got %d pending, want %d", n, len(got))
			}
			// The log goes on, and the damage is not there for the next process again, nor what was cut.
			add(t, d, 500, 501)
			if got := names(take(t, c)); got != "500" {
				t.Errorf("appended: got %s", got)
			}
			closed(t, d)
			d = opened(t, Options{Dir: dir})
			if again := take(t, cursorOf(t, d, "facts", CursorOptions{})); names(again) != names(got)+" 500" {
				t.Errorf("third process: got %s", names(again))
			}
		})
	}
}

// TestDiskTornGroup: what lies behind a torn write of an unsynced group goes with it, because it may be the alive record that would hide the loss.
func TestDiskTornGroup(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	add(t, d, 0, 3)
	if err := d.Alive(time.Unix(100, 0)); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock() // one group
	b := make([]byte, 0, 4096)
	for n := 3; n < 6; n++ {
		e := numbered(n)
		b = appendRecord(b, d.next+Pos(n-3), len(b), 0, "", &e.Header, e.Data)
	}
	b = appendAlive(b, d.next+3, len(b), time.Unix(200, 0))
	d.mu.Unlock()
	closed(t, d)
	b[at(b, 4)]++
	change(t, segmentsIn(t, dir)[0], func(old []byte) []byte { return append(old, b...) })

	d = opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	alive, err := d.Recover(nil, func(*Record) {})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(take(t, c)); got != count(0, 4) || alive.Unix() != 100 || d.Status().Cut == 0 || d.Status().Corrupt != 0 {
		t.Errorf("got %s, alive %v, %+v; want 0 to 3, 100 s, something cut and no damage", got, alive, d.Status())
	}
}

// TestDiskSuperseded: what a retired segment holds of a group that was written again elsewhere does not count.
func TestDiskSuperseded(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	p := add(t, d, 0, 5)
	closed(t, d)
	e := numbered(77)
	lost := appendRecord(nil, p[4]+1, 0, 0, "", &e.Header, e.Data)
	change(t, segmentsIn(t, dir)[0], func(b []byte) []byte { return append(b, lost...) })
	h := header{serial: 2, first: p[4] + 1, base: p[4] + 1, epoch: 1}
	b := h.append(nil)
	e = numbered(5)
	b = appendRecord(b, p[4]+1, 0, 0, "", &e.Header, e.Data)
	if err := os.WriteFile(segmentName(dir, 2), b, 0o600); err != nil {
		t.Fatal(err)
	}
	d = opened(t, Options{Dir: dir})
	if got := take(t, cursorOf(t, d, "facts", CursorOptions{})); names(got) != count(0, 6) || d.Status().Corrupt != 0 {
		t.Errorf("got %s and %+v", names(got), d.Status())
	}
}

func TestDiskDamagedWhileItRuns(t *testing.T) {
	dir := groups(t, 100)
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	got := take(t, c)
	change(t, segmentsIn(t, dir)[0], func(b []byte) []byte { b[at(b, 4)]++; return b })
	again, err := c.Read(positions(got[2:7]))
	if err != nil || names(again) != "2 3 5 6" || d.Status().Corrupt != 1 {
		t.Errorf("Read: got %s, %v, %+v", names(again), err, d.Status())
	}
	if n, _, _ := c.Pending(); n != 99 {
		t.Errorf("got %d pending, want 99", n)
	}
}

func TestDiskUnusableFiles(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	p := add(t, d, 0, 3)
	finish(c, take(t, c)[:2])
	if err := c.Save([]byte("mark")); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(func(w io.Writer) error { _, err := io.WriteString(w, "views"); return err }); err != nil {
		t.Fatal(err)
	}
	closed(t, d)
	for _, name := range []string{cursorPrefix + "facts", checkpointName} {
		change(t, filepath.Join(dir, name), func(b []byte) []byte { b[14]++; return b })
	}
	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "facts", CursorOptions{})
	var folded []Record
	if _, err := d.Recover(func(io.Reader) error { t.Error("load is called"); return nil }, func(r *Record) { folded = append(folded, *r) }); err != nil {
		t.Fatal(err)
	}
	if got := names(take(t, c)); got != count(0, 3) || names(folded) != got || c.Mark() != nil || d.Status().Corrupt != 2 {
		t.Errorf("got %s, folded %s, mark %q, %+v", got, names(folded), c.Mark(), d.Status())
	}
	if set, err := os.ReadDir(filepath.Join(dir, quarantineName)); err != nil || len(set) != 2 {
		t.Errorf("quarantine: got %v and %v", set, err)
	}
	closed(t, d)

	// A cursor still waits for what is in no segment.
	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "facts", CursorOptions{})
	finish(c, take(t, c)[:1])
	add(t, d, 3, 4)
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	closed(t, d)
	if err := os.Remove(segmentName(dir, 1)); err != nil {
		t.Fatal(err)
	}
	d = opened(t, Options{Dir: dir})
	if got := names(take(t, cursorOf(t, d, "facts", CursorOptions{}))); got != "3" || d.Status().Corrupt != 2 {
		t.Errorf("a segment is gone: got %s and %+v, want 3 and 2 missing", got, d.Status())
	}
	_ = p
}

// TestDiskAfterLoss: positions do not come again where the log's end is lost, and a checkpoint that knows more than the log is left out.
func TestDiskAfterLoss(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	p := add(t, d, 0, 5)
	finish(c, take(t, c))
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	closed(t, d)
	change(t, segmentsIn(t, dir)[0], func(b []byte) []byte { return b[:at(b, 3)] })
	d = opened(t, Options{Dir: dir})
	c = cursorOf(t, d, "facts", CursorOptions{})
	var folded []Record
	if _, err := d.Recover(func(io.Reader) error { t.Error("load is called"); return nil }, func(r *Record) { folded = append(folded, *r) }); err != nil {
		t.Fatal(err)
	}
	if names(folded) != count(0, 3) {
		t.Errorf("folded %s", names(folded))
	}
	if q := add(t, d, 5, 6); q[0] <= p[4] {
		t.Errorf("position %d comes after %d", q[0], p[4])
	}
	if got := names(take(t, c)); got != "5" {
		t.Errorf("got %s", got)
	}
}

func TestDiskOfLaterVersion(t *testing.T) {
	later := func(b []byte, sum int) []byte {
		byteOrder.PutUint16(b[8:], formatMajor+1)
		byteOrder.PutUint32(b[sum:], crc32.Checksum(b[:sum], castagnoli))
		return b
	}
	for _, tc := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"000000000001.seg", func(b []byte) []byte { return later(b, 60) }},
		{"cursor-facts", func(b []byte) []byte { return later(b, len(b)-4) }},
		{"checkpoint", func(b []byte) []byte { return later(b, len(b)-4) }},
		{"000000000002.seg", func(b []byte) []byte { // a record
			r := b[headerBytes:]
			r = r[:recordLength(r)]
			r[8] = recordVersion + 1
			byteOrder.PutUint32(r[4:], checksum(r))
			return b
		}},
	} {
		dir := t.TempDir()
		d := opened(t, Options{Dir: dir})
		c := cursorOf(t, d, "facts", CursorOptions{})
		add(t, d, 0, 1)
		if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(nil); err != nil {
			t.Fatal(err)
		}
		closed(t, d)
		d = opened(t, Options{Dir: dir})
		add(t, d, 1, 2)
		closed(t, d)
		change(t, filepath.Join(dir, tc.name), tc.damage)
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, errNewer) || !strings.Contains(err.Error(), filepath.Join(dir, tc.name)) {
			t.Errorf("%s: got %v, want the file named", tc.name, err)
		}
	}
}

// TestDiskPassesOverUnknownKinds: a later minor version may write kinds that are not known here.
func TestDiskPassesOverUnknownKinds(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	p := add(t, d, 0, 2)
	closed(t, d)
	var b []byte
	for i, kind := range []byte{kindAlive + 1, kindEvent + 1, kindEvent} {
		e := numbered(2)
		start := len(b)
		pos := p[1] + 1 + Pos(i/2)
		b = appendRecord(b, pos, 0, 0, "", &e.Header, e.Data)
		r := b[start:]
		seal(r, kind, int(byteOrder.Uint32(r[12:])), pos, 0, 0)
	}
	change(t, segmentsIn(t, dir)[0], func(old []byte) []byte { return append(old, b...) })
	d = opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	got := take(t, c)
	if names(got) != count(0, 3) || d.Status().Corrupt != 0 {
		t.Errorf("got %s and %+v", names(got), d.Status())
	}
	if n, _, _ := c.Pending(); n != 3 {
		t.Errorf("got %d pending, want 3", n)
	}
}

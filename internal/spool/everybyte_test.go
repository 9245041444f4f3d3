package spool

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

const smallSegment = 600

// smallLog is the files of a closed log with several segments, alive records, a cursor with and one without something done, and views; events
// is how many it holds.
func smallLog(t *testing.T) (files *cutFiles, events int) {
	t.Helper()
	w := newWorld(1)
	w.files = newCutFiles()
	d, err := Open(Options{Dir: worldDir, Files: w.files, segmentBytes: smallSegment})
	if err != nil {
		t.Fatal(err)
	}
	work, keep := cursorOf(t, d, "work", CursorOptions{}), cursorOf(t, d, "keep", CursorOptions{})
	for events = 1; events <= 14; events++ {
		if _, err := d.Append(Normal, contentOf(events)); err != nil {
			t.Fatal(err)
		}
		if events%3 == 0 {
			if err := d.Alive(w.tick); err != nil {
				t.Fatal(err)
			}
		}
		if events%2 == 0 {
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if events == 10 {
			if err := d.Checkpoint(func(w io.Writer) error { _, err := io.WriteString(w, "views"); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	events--
	finish(work, take(t, work)[:9])
	if err := errors.Join(work.Save([]byte("mark")), keep.Save(nil)); err != nil {
		t.Fatal(err)
	}
	closed(t, d)
	return w.files, events
}

// sound holds a damaged log against what it held: it opens, what it returns is right, and what it does not return is reported.
func sound(files *cutFiles, events int) error {
	d, err := Open(Options{Dir: worldDir, Files: files, segmentBytes: smallSegment})
	if err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	defer func() { _ = d.Close() }()
	work, err := d.Cursor("work", CursorOptions{})
	if err != nil {
		return err
	}
	keep, err := d.Cursor("keep", CursorOptions{})
	if err != nil {
		return err
	}
	var folded []Record
	views := ""
	alive, err := d.Recover(func(r io.Reader) error {
		b, err := io.ReadAll(r)
		views = string(b)
		return err
	}, func(r *Record) { folded = append(folded, *r) })
	if err != nil {
		return fmt.Errorf("Recover: %w", err)
	}
	w := newWorld(1)
	all, err := w.drain(keep)
	if err != nil {
		return err
	}
	some, err := w.drain(work)
	if err != nil {
		return err
	}
	s := d.Status()
	missing := events - len(all)
	switch {
	case missing > int(s.Corrupt) && s.Cut == 0:
		return fmt.Errorf("%w: %d missing, %+v", errViolated, missing, s)
	case s.Corrupt == 0 && s.Cut == 0 && (!alive.Equal(w.tick) || views == "" || len(some)+9 > len(all) || string(work.Mark()) != "mark"):
		return fmt.Errorf("%w: not reported: alive %v, views %q, %d left of %d, mark %q", errViolated, alive, views, len(some), len(all), work.Mark())
	case views != "" && views != "views":
		return fmt.Errorf("%w: views %q", errViolated, views)
	case views == "" && len(folded) != len(all):
		return fmt.Errorf("%w: without views %d folded of %d", errViolated, len(folded), len(all))
	case views != "" && len(folded)+10 < len(all):
		return fmt.Errorf("%w: %d folded of %d", errViolated, len(folded), len(all))
	case len(some)+9 < len(all):
		return fmt.Errorf("%w: %d left of %d", errViolated, len(some), len(all))
	}
	for _, records := range [][]Record{all, some, folded} {
		if !slices.IsSortedFunc(records, func(a, b Record) int { return idOf(&a) - idOf(&b) }) {
			return fmt.Errorf("%w: out of order: %s", errViolated, names(records))
		}
		for i := range records {
			if err := check(&records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestDiskEveryByte(t *testing.T) {
	files, events := smallLog(t)
	if err := sound(files.killed(), events); err != nil {
		t.Fatal(err)
	}
	tried, segments := 0, 0
	for _, name := range slices.Sorted(maps.Keys(files.names)) {
		if strings.HasSuffix(name, segmentSuffix) {
			segments++
		}
		whole := files.names[name].now
		for at := range whole {
			for how, damage := range map[string]func([]byte) []byte{
				"flipped": func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b },
				"zero":    func(b []byte) []byte { b[at] = 0; return b },
				"cut":     func(b []byte) []byte { return b[:at] },
			} {
				f := files.killed()
				b := damage(slices.Clone(whole))
				*f.names[name] = inode{now: b, synced: slices.Clone(b)}
				if err := sound(f, events); err != nil {
					t.Errorf("%s: byte %d %s: %v", name, at, how, err)
				}
				tried++
			}
		}
	}
	if segments < 3 || tried < 3000 {
		t.Errorf("got %d segments and %d tries, want more", segments, tried)
	}
}

// TestDiskEveryByteControl: a wrong byte that the checksum does not show is found out here, as it would be if the checksum were not looked at.
func TestDiskEveryByteControl(t *testing.T) {
	files, events := smallLog(t)
	b := files.names[segmentName(worldDir, 1)].now
	r := b[headerBytes:]
	r = r[:recordLength(r)]
	r[len(r)-1]++
	byteOrder.PutUint32(r[4:], checksum(r))
	if err := sound(files, events); !errors.Is(err, errViolated) {
		t.Errorf("got %v", err)
	}
}

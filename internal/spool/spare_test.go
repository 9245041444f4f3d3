package spool

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestDiskSpare: the next segment is there before it is needed. A log that had to make it then would find that it cannot.
func TestDiskSpare(t *testing.T) {
	files := &faults{Files: OS}
	made := make(chan struct{})
	files.set(func(op, name string) error {
		if op == "sync" && filepath.Base(name) == "000000000002.seg" {
			close(made)
		}
		return nil
	})
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir, Files: files})
	c := cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 0, 20)
	<-made
	files.set(func(op, _ string) error {
		switch op {
		case "create", "allocate", "sync_dir":
			return errors.New("too late")
		}
		return nil
	})
	add(t, d, 20, 55)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsIn(t, dir)); n != 2 {
		t.Errorf("got %d segments, want 2", n)
	}
	if got := take(t, c); len(got) != 55 {
		t.Errorf("got %d records, want 55", len(got))
	}
}

// TestDiskSpareFails: a spare that cannot be made costs nothing but time.
func TestDiskSpareFails(t *testing.T) {
	for _, op := range []string{"create", "allocate", "sync_dir", "write", "sync"} {
		t.Run(op, func(t *testing.T) {
			files := &faults{Files: OS}
			failed := make(chan struct{})
			once := false
			files.set(func(now, name string) error {
				if now != op || once || op != "sync_dir" && filepath.Base(name) != "000000000002.seg" {
					return nil
				}
				if op == "sync_dir" { // of the first segment, then of the spare
					if _, err := os.Stat(filepath.Join(name, "000000000002.seg")); err != nil {
						return nil
					}
				}
				once = true
				close(failed)
				return errors.New("it does not work")
			})
			d := opened(t, Options{Dir: t.TempDir(), Files: files})
			c := cursorOf(t, d, "facts", CursorOptions{})
			add(t, d, 0, 20)
			<-failed
			if n := d.spareBytes.Load(); n != 0 {
				t.Errorf("%d bytes count as held by a spare that could not be made", n)
			}
			add(t, d, 20, 200)
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			if got := take(t, c); len(got) != 200 {
				t.Errorf("got %d records, want 200", len(got))
			}
		})
	}
}

// cuts notes to what sizes files are cut.
type cuts struct {
	Files
	mu    sync.Mutex
	sizes map[string][]int64
}

type cutNoted struct {
	File
	cuts *cuts
	name string
}

func (c *cuts) Open(name string, flag int) (File, error) {
	f, err := c.Files.Open(name, flag)
	return &cutNoted{f, c, filepath.Base(name)}, err
}

func (f *cutNoted) Truncate(size int64) error {
	f.cuts.mu.Lock()
	defer f.cuts.mu.Unlock()
	f.cuts.sizes[f.name] = append(f.cuts.sizes[f.name], size)
	return f.File.Truncate(size)
}

// TestDiskShrinks: a large segment that is needed no more is given back in pieces, under a name that is no segment's.
func TestDiskShrinks(t *testing.T) {
	files := &cuts{Files: OS, sizes: map[string][]int64{}}
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir, Files: files, segmentBytes: 20 << 20, MaxBytes: 64 << 20}) // no room to keep it
	c := cursorOf(t, d, "facts", CursorOptions{})
	large := numbered(0)
	large.Data = make([]byte, 1<<20)
	for range 30 {
		if _, err := d.Append(Normal, large); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	finish(c, take(t, c))
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if n := len(segmentsIn(t, dir)); n != 1 {
		t.Fatalf("got %d segments, want 1", n)
	}
	files.mu.Lock()
	defer files.mu.Unlock()
	pieces := 0
	for name, sizes := range files.sizes {
		if strings.HasSuffix(name, segmentSuffix) {
			if len(sizes) > 1 { // once, to where it ended
				t.Errorf("%s was cut to %v", name, sizes)
			}
			continue
		}
		for i := 1; i < len(sizes); i++ {
			if sizes[i-1]-sizes[i] > shrinkBytes {
				t.Errorf("%s was cut to %v", name, sizes)
			}
		}
		pieces += len(sizes)
	}
	if pieces == 0 {
		t.Errorf("cut to %v, want pieces", files.sizes)
	}
}

// TestDiskSpareWithinBounds: what is reserved for later counts too.
func TestDiskSpareWithinBounds(t *testing.T) {
	dir := t.TempDir()
	const most = 64 << 10
	d := opened(t, Options{Dir: dir, MaxBytes: most, Reserve: 100})
	cursorOf(t, d, "facts", CursorOptions{})
	n := 0
	for ; ; n++ {
		_, err := d.Append(Normal, numbered(n))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		var bytes int64
		names, err := OS.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && strings.HasSuffix(name, segmentSuffix) {
				bytes += info.Size()
			}
		}
		if bytes > most {
			t.Fatalf("after %d records: the segments take %d bytes, the bound is %d", n+1, bytes, most)
		}
	}
	if n < 100 {
		t.Errorf("the log took %d records, which is far below its bound", n)
	}
}

// TestDiskSpareLeft: a spare that a crash has left is nobody's loss, and leaves no hole in the serial numbers.
func TestDiskSpareLeft(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 0, 10)
	closed(t, d)
	if err := os.WriteFile(segmentName(dir, 2), make([]byte, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	d = opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 10, 20)
	if got := take(t, c); len(got) != 20 {
		t.Errorf("got %d records, want 20", len(got))
	}
	if s := d.Status(); s.Corrupt != 0 || s.Cut != 0 {
		t.Errorf("got %+v, want no damage", s)
	}
	if got, want := segmentsIn(t, dir), []string{segmentName(dir, 1), segmentName(dir, 2)}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// boundless are files of a system that does not say how much space is left.
type boundless struct{ Files }

func (boundless) Free(string) (int64, error) { return math.MaxInt64, nil }

// TestDiskFreeUnknown: where nobody knows what is free, nothing is scarce, with a spare and without.
func TestDiskFreeUnknown(t *testing.T) {
	files := &faults{Files: boundless{OS}}
	made := make(chan struct{})
	files.set(func(op, name string) error {
		if op == "sync" && filepath.Base(name) == "000000000002.seg" {
			close(made)
		}
		return nil
	})
	d := opened(t, Options{Dir: t.TempDir(), Files: files, SkipSlowest: true})
	cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 0, 20)
	<-made
	d.spareBytes.Store(d.segment) // as it is a moment later
	if d.scarce() {
		t.Error("the disk counts as full")
	}
}

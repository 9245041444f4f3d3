package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// keeping are Files that note which segments' files are kept and used again, and what is written to one before its new name is durable.
type keeping struct {
	Files
	mu       sync.Mutex
	kept     map[string]bool // by name; true: the name is durable
	early    []string        // written to before
	reused   int
	failures int
	fail     string // what does not work with them
	full     bool   // nothing can be written
}

type keptFile struct {
	File
	files *keeping
	name  string
}

func isIdle(name string) bool { return strings.HasSuffix(name, segmentSuffix+tempSuffix) }

func (k *keeping) failing(op string) error {
	if k.fail != op {
		return nil
	}
	k.failures++
	return errors.New("it does not work")
}

func (k *keeping) Rename(from, to string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case isIdle(to):
		if err := k.failing("keep"); err != nil {
			return err
		}
		k.kept[to] = false
	case isIdle(from):
		if err := k.failing("use"); err != nil {
			return err
		}
		delete(k.kept, from)
		k.reused++
	}
	return k.Files.Rename(from, to)
}

func (k *keeping) SyncDir(dir string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.kept {
		k.kept[name] = true
	}
	return k.Files.SyncDir(dir)
}

func (k *keeping) Open(name string, flag int) (File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if isIdle(name) {
		if err := k.failing("open"); err != nil {
			return nil, err
		}
	}
	f, err := k.Files.Open(name, flag)
	return &keptFile{f, k, name}, err
}

func (f *keptFile) WriteAt(b []byte, off int64) (int, error) {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if f.files.full {
		return 0, syscall.ENOSPC
	}
	if durable, kept := f.files.kept[f.name]; kept {
		if err := f.files.failing("write"); err != nil {
			return 0, err
		}
		if !durable {
			f.files.early = append(f.files.early, f.name)
		}
	}
	return f.File.WriteAt(b, off)
}

// turnOver fills a log, delivers all of it and lets it remove what is needed no more, again and again.
func turnOver(t *testing.T, o Options) *Disk {
	t.Helper()
	d := opened(t, o)
	c := cursorOf(t, d, "facts", CursorOptions{})
	for n := range 300 {
		add(t, d, n, n+1)
		if n%10 != 9 {
			continue
		}
		got := take(t, c)
		if len(got) != 10 || got[0].Header.ID != numbered(n-9).Header.ID {
			t.Fatalf("after %d records: got %d", n+1, len(got))
		}
		finish(c, got)
		if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(nil); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestDiskReuses: the file of a removed segment becomes a later one, and nothing of what it held comes back. That it was renamed is durable before anything is
// written over it, or a crash could bring back a segment without records.
func TestDiskReuses(t *testing.T) {
	dir, files := t.TempDir(), &keeping{Files: OS, kept: map[string]bool{}}
	closed(t, turnOver(t, Options{Dir: dir, Files: files}))
	if files.reused == 0 || len(files.early) > 0 {
		t.Errorf("%d files were used again, want some; written to before they were renamed for good: %q", files.reused, files.early)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*"+tempSuffix)); err != nil || len(left) > 0 {
		t.Errorf("a closed log leaves %q, %v", left, err)
	}
	d := opened(t, Options{Dir: dir})
	c := cursorOf(t, d, "facts", CursorOptions{})
	if got := take(t, c); len(got) != 0 {
		t.Errorf("got %d records again", len(got))
	}
	if s := d.Status(); s.Corrupt != 0 || s.Cut != 0 {
		t.Errorf("after the next start: got %+v, want no damage", s)
	}
}

// TestDiskReuseFails: what fails when a file is kept or used again costs nothing but the file.
func TestDiskReuseFails(t *testing.T) {
	for _, op := range []string{"keep", "open", "write", "use"} {
		files := &keeping{Files: OS, kept: map[string]bool{}, fail: op}
		closed(t, turnOver(t, Options{Dir: t.TempDir(), Files: files}))
		if files.failures == 0 || files.reused > 0 {
			t.Errorf("%s: %d failures, and %d files were used again", op, files.failures, files.reused)
		}
	}
}

// TestDiskReusesInHaste: a file that is needed before it is all zeros has none of its old bytes either.
func TestDiskReusesInHaste(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir})
	closed(t, d) // it would make a spare of the file itself
	const size = 8 << 10
	name := segmentName(dir, 7)
	if err := os.WriteFile(name+tempSuffix, bytes.Repeat([]byte{1}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	d.idle.files = []idleFile{{name + tempSuffix, size}}
	s := &spare{name: name, size: size, zeros: true, enough: make(chan struct{})}
	close(s.enough)
	f := d.reuse(s)
	if f == nil {
		t.Fatal("the file was not used")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, make([]byte, size)) {
		t.Errorf("got %d bytes (%v), want %d zeros", len(b), err, size)
	}
}

// TestDiskFullGetsThemBack: what is kept for later does not keep a full disk full.
func TestDiskFullGetsThemBack(t *testing.T) {
	files := &keeping{Files: OS, kept: map[string]bool{}}
	d := turnOver(t, Options{Dir: t.TempDir(), Files: files})
	f := idleFile{filepath.Join(d.Dir, "000000009999"+segmentSuffix+tempSuffix), 8 << 10}
	if err := os.WriteFile(f.name, make([]byte, f.size), 0o600); err != nil {
		t.Fatal(err)
	}
	d.idle.mu.Lock()
	d.idle.files = append(d.idle.files, f)
	d.idle.mu.Unlock()
	full := func(now bool) {
		files.mu.Lock()
		defer files.mu.Unlock()
		files.full = now
	}
	full(true)
	if _, err := d.Append(Normal, numbered(300)); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want a full disk", err)
	}
	if n := d.idle.bytes(); n > 0 {
		t.Errorf("%d bytes are kept", n)
	}
	if _, err := os.Stat(f.name); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
	full(false)
	closed(t, d)
}

// TestDiskKeepsWithinBounds: files are kept as long as there is room for them.
func TestDiskKeepsWithinBounds(t *testing.T) {
	files := &keeping{Files: OS, kept: map[string]bool{}}
	d := turnOver(t, Options{Dir: t.TempDir(), Files: files, MaxBytes: 24 << 10, Reserve: 100}) // three segments
	if len(files.kept) > 0 || files.reused > 0 {
		t.Errorf("%d files are kept, %d were used again", len(files.kept), files.reused)
	}
	closed(t, d)
}

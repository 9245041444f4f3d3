package spool

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faults are Files that fail as told. Only the log's own files are concerned.
type faults struct {
	Files
	mu    sync.Mutex
	fail  func(op, name string) error
	syncs atomic.Int64
	hold  chan struct{} // Sync waits while it is open
}

func (f *faults) set(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faults) check(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(op, name)
}

func (f *faults) Open(name string, flag int) (File, error) {
	if flag&os.O_CREATE != 0 {
		if err := f.check("create", name); err != nil {
			return nil, err
		}
	}
	file, err := f.Files.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f, name}, nil
}

func (f *faults) Rename(from, to string) error {
	if err := f.check("rename", to); err != nil {
		return err
	}
	return f.Files.Rename(from, to)
}

func (f *faults) SyncDir(dir string) error {
	if err := f.check("sync_dir", dir); err != nil {
		return err
	}
	return f.Files.SyncDir(dir)
}

type faultFile struct {
	File
	faults *faults
	name   string
}

// WriteAt writes half before it fails, as a disk that becomes full does.
func (f *faultFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.faults.check("write", f.name); err != nil {
		_, _ = f.File.WriteAt(b[:len(b)/2], off)
		return len(b) / 2, err
	}
	return f.File.WriteAt(b, off)
}

func (f *faultFile) Sync() error {
	f.faults.syncs.Add(1)
	f.faults.mu.Lock()
	hold := f.faults.hold
	f.faults.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err := f.faults.check("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Allocate(size int64) error {
	if err := f.faults.check("allocate", f.name); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *faultFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.faults.check("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

// TestDiskFails: whatever fails, what was appended is durable and handed out in the end, once and in order, without help.
func TestDiskFails(t *testing.T) {
	for _, tc := range []struct {
		op   string
		err  error
		word string
		want error
	}{
		{"write", syscall.EIO, "failing", ErrStalled},
		{"write", syscall.ENOSPC, "full", ErrFull},
		{"write", syscall.EDQUOT, "full", ErrFull},
		{"write", syscall.EROFS, "read_only", ErrStalled},
		{"sync", syscall.EIO, "failing", ErrStalled},
		{"create", syscall.EROFS, "read_only", ErrStalled},
		{"allocate", syscall.ENOSPC, "full", ErrFull},
		{"sync_dir", syscall.EIO, "failing", ErrStalled},
	} {
		t.Run(tc.op+" "+tc.err.Error(), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				f := &faults{Files: OS}
				d := opened(t, Options{Dir: dir, Files: f})
				c := cursorOf(t, d, "facts", CursorOptions{})
				add(t, d, 0, 20)
				finish(c, take(t, c))
				f.set(func(op, name string) error {
					if op == tc.op && !strings.HasSuffix(name, tempSuffix) {
						return tc.err
					}
					return nil
				})
				n := 20
				var err error
				for ; err == nil && n < 500; n++ { // until a segment has to be made
					if _, err = d.Append(Normal, numbered(n)); err == nil {
						synctest.Wait()
					}
				}
				n--
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
				if s := d.Status(); s.Failing != tc.word || d.Room() {
					t.Errorf("got %q and room %v, want %q and none", s.Failing, d.Room(), tc.word)
				}
				if err := d.Sync(); !errors.Is(err, tc.want) {
					t.Errorf("Sync: got %v, want %v", err, tc.want)
				}
				time.Sleep(time.Minute) // virtual
				durable := take(t, c)
				if len(durable)+20 >= n {
					t.Errorf("got %d records while the disk fails, of %d", len(durable)+20, n)
				}
				f.set(nil)
				time.Sleep(2 * retryCap)
				synctest.Wait()
				if s := d.Status(); s.Failing != "" || !d.Room() {
					t.Errorf("afterwards: got %q and room %v", s.Failing, d.Room())
				}
				if got := names(append(durable, take(t, c)...)); got != count(20, n) {
					t.Errorf("got %s, want 20 to %d", got, n-1)
				}
				add(t, d, n, n+1)
				closed(t, d)
				d = opened(t, Options{Dir: dir})
				if got := names(take(t, cursorOf(t, d, "facts", CursorOptions{}))); got != count(0, n+1) || d.Status().Corrupt != 0 {
					t.Errorf("second process: got %s and %+v, want 0 to %d", got, d.Status(), n)
				}
			})
		})
	}
}

// TestDiskNeverSyncsAgain: after a failed sync the file is not synced again: what it could not write is forgotten, and a second sync would say it is there.
func TestDiskNeverSyncsAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		failed := map[string]bool{}
		f := &faults{Files: OS}
		d := opened(t, Options{Dir: dir, Files: f})
		add(t, d, 0, 1)
		f.set(func(op, name string) error {
			if op != "sync" {
				return nil
			}
			if failed[name] {
				t.Errorf("%s is synced again", name)
			}
			if len(failed) == 4 {
				return nil
			}
			failed[name] = true
			return syscall.EIO
		})
		if _, err := d.Append(Normal, numbered(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := d.Sync(); err != nil || len(failed) < 4 {
			t.Errorf("got %v after %d files", err, len(failed))
		}
	})
}

// sluggish is a disk that takes its time for everything, and always comes to an end.
type sluggish struct{ Files }

func (s sluggish) Open(name string, flag int) (File, error) {
	f, err := s.Files.Open(name, flag)
	return sluggishFile{f}, err
}

type sluggishFile struct{ File }

func (f sluggishFile) Sync() error {
	time.Sleep(patience / 10) // virtual
	return f.File.Sync()
}

// TestDiskTakesTurns: a disk that takes one group after the other is not stalled, however many wait for theirs.
func TestDiskTakesTurns(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := opened(t, Options{Dir: dir, Files: sluggish{OS}, MaxBytes: 1 << 20})
		cursorOf(t, d, "facts", CursorOptions{})
		add(t, d, 0, 1)
		began := time.Now()
		var all sync.WaitGroup
		for n := range 2000 {
			all.Go(func() {
				if _, err := d.Append(Normal, numbered(n)); err != nil {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took < 2*patience {
			t.Errorf("all was taken within %v: nobody had to wait for long", took)
		}
		closed(t, d)
	})
}

func TestDiskStalls(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &faults{Files: OS}
		d := opened(t, Options{Dir: dir, Files: f})
		c := cursorOf(t, d, "facts", CursorOptions{})
		add(t, d, 0, 1)
		release := make(chan struct{})
		f.mu.Lock()
		f.hold = release
		f.mu.Unlock()
		n := 1
		begin := time.Now()
		for ; ; n++ {
			_, err := d.Append(Normal, numbered(n))
			if errors.Is(err, ErrStalled) {
				break
			}
			if err != nil || n > 1000 {
				t.Fatal(n, err)
			}
			synctest.Wait()
		}
		if took := time.Since(begin); took != patience {
			t.Errorf("the append that stalled took %v, want %v", took, patience)
		}
		begin = time.Now()
		if _, err := d.Append(Reserve, numbered(n)); !errors.Is(err, ErrStalled) || time.Since(begin) != 0 {
			t.Errorf("the next one: got %v after %v, want ErrStalled at once", err, time.Since(begin))
		}
		if s := d.Status(); s.Failing != "stalled" || d.Room() {
			t.Errorf("got %q and room %v", s.Failing, d.Room())
		}
		if got := names(take(t, c)); got != "0" {
			t.Errorf("got %s while nothing else is durable", got)
		}
		close(release)
		synctest.Wait()
		if s := d.Status(); s.Failing != "" || !d.Room() {
			t.Errorf("afterwards: got %q and room %v", s.Failing, d.Room())
		}
		if got := names(take(t, c)); got != count(1, n) {
			t.Errorf("got %s, want 1 to %d", got, n-1)
		}
		// One that waits is let in when the disk is in time.
		release = make(chan struct{})
		f.mu.Lock()
		f.hold = release
		f.mu.Unlock()
		go func() {
			time.Sleep(patience / 2)
			close(release)
		}()
		for range n {
			if _, err := d.Append(Normal, numbered(0)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestDiskSaveFails: what is not in the file is not saved, and the one before stays.
func TestDiskSaveFails(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename", "sync_dir"} {
		dir := t.TempDir()
		f := &faults{Files: OS}
		d := opened(t, Options{Dir: dir, Files: f})
		c := cursorOf(t, d, "facts", CursorOptions{})
		add(t, d, 0, 3)
		got := take(t, c)
		c.Done(got[0].Pos)
		views := func(text string) error {
			return d.Checkpoint(func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
		}
		if err := errors.Join(c.Save([]byte("old")), views("old")); err != nil {
			t.Fatal(err)
		}
		c.Done(got[1].Pos)
		f.set(func(is, _ string) error {
			if is == op {
				return syscall.EIO
			}
			return nil
		})
		if err := c.Save([]byte("new")); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: Save: got %v", op, err)
		}
		if err := views("new"); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: Checkpoint: got %v", op, err)
		}
		if string(c.Mark()) != "old" {
			t.Errorf("%s: got mark %q", op, c.Mark())
		}
		f.set(nil)
		if err := errors.Join(c.Save([]byte("new")), views("new")); err != nil {
			t.Errorf("%s: afterwards: %v", op, err)
		}
		closed(t, d)
		d = opened(t, Options{Dir: dir})
		c = cursorOf(t, d, "facts", CursorOptions{})
		if got := names(take(t, c)); got != "2" || string(c.Mark()) != "new" {
			t.Errorf("%s: second process: got %s, mark %q", op, got, c.Mark())
		}
	}
}

// TestDiskCloseWhileFailing: Close tries once more and says what is lost.
func TestDiskCloseWhileFailing(t *testing.T) {
	f := &faults{Files: OS}
	d := opened(t, Options{Dir: t.TempDir(), Files: f})
	f.set(func(op, _ string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	})
	for range 3 {
		if _, err := d.Append(Normal, numbered(1)); err != nil {
			break
		}
	}
	if err := d.Close(); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "not durable") {
		t.Errorf("got %v", err)
	}
}

// TestDiskReadFails: an error of the disk is returned, nothing is taken for done, and asking again helps.
func TestDiskReadFails(t *testing.T) {
	dir := groups(t, 100)
	f := &faults{Files: OS}
	d := opened(t, Options{Dir: dir, Files: f})
	c := cursorOf(t, d, "facts", CursorOptions{})
	f.set(func(op, _ string) error {
		if op == "read" {
			return syscall.EIO
		}
		return nil
	})
	if _, err := c.Next(10); !errors.Is(err, syscall.EIO) {
		t.Errorf("Next: got %v", err)
	}
	if _, err := d.Recover(nil, func(*Record) {}); !errors.Is(err, syscall.EIO) {
		t.Errorf("Recover: got %v", err)
	}
	f.set(nil)
	if got := names(take(t, c)); got != count(0, 100) || d.Status().Corrupt != 0 {
		t.Errorf("got %s and %+v", got, d.Status())
	}
}

// TestDiskBadSpot: what can never be read is damage, and holds nothing up.
func TestDiskBadSpot(t *testing.T) {
	for _, i := range []int{0, 1} { // an older segment; the end of the last
		dir := groups(t, 100)
		f := &spot{Files: OS, name: segmentsIn(t, dir)[i]}
		d := opened(t, Options{Dir: dir, Files: f})
		got := take(t, cursorOf(t, d, "facts", CursorOptions{}))
		if s := d.Status(); len(got) == 100 || i == 0 && int64(len(got))+s.Corrupt != 100 || s.Cut > 0 != (i == 1) {
			t.Errorf("got %d records and %+v", len(got), s)
		}
	}
}

// spot is a disk that cannot read the second sector of a file.
type spot struct {
	Files
	name string
}

type spotFile struct{ File }

func (f *spot) Open(name string, flag int) (File, error) {
	file, err := f.Files.Open(name, flag)
	if err != nil || name != f.name {
		return file, err
	}
	return spotFile{file}, nil
}

func (f spotFile) ReadAt(b []byte, off int64) (int, error) {
	if off < 2*sector && off+int64(len(b)) > sector {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, off)
}

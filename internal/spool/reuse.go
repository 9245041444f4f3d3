package spool

import (
	"os"
	"sync"
)

// idle are the files of removed segments, kept under names that no segment has, until a spare is made of them. To give blocks back and to reserve others
// is work of the file system's journal, for which syncs of the log have to wait; a file that is used again needs neither.
type idle struct {
	mu    sync.Mutex
	files []idleFile
}

type idleFile struct {
	name string
	size int64
}

// mostIdle is how many: segments are removed some at a time, with the checkpoint, and needed one by one.
const mostIdle = 4

func (i *idle) bytes() (n int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, f := range i.files {
		n += f.size
	}
	return n
}

// take returns one of them.
func (i *idle) take() (f idleFile, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.files) == 0 {
		return f, false
	}
	f, i.files = i.files[0], i.files[1:]
	return f, true
}

// keep puts by the file of a removed segment, and reports whether it did. Where room is short it does not.
func (d *Disk) keep(name string, size int64) bool {
	if !d.durable() || size < d.segment-d.segment/8 || size > d.segment || d.over() {
		return false
	}
	d.mu.Lock()
	room := d.max - d.used
	d.mu.Unlock()
	least := d.idle.bytes() + size + 2*d.segment // what the active segment and the spare have reserved
	if free, err := d.Files.Free(d.Dir); room < least || err == nil && free < d.left()+2*d.segment {
		return false
	}
	d.idle.mu.Lock()
	defer d.idle.mu.Unlock()
	if len(d.idle.files) == mostIdle {
		return false
	}
	f := idleFile{name + tempSuffix, size}
	if err := d.Files.Rename(name, f.name); err != nil {
		d.metrics.failed("rename")
		return false
	}
	d.idle.files = append(d.idle.files, f)
	return true
}

// dismiss removes the idle files.
func (d *Disk) dismiss() {
	for f, ok := d.idle.take(); ok; f, ok = d.idle.take() {
		if err := d.Files.Remove(f.name); err != nil {
			d.metrics.failed("remove")
		}
	}
}

// reuse makes s of an idle file, by filling it with zeros: what it holds would be taken for records. Nil: there is none, or it fails.
func (d *Disk) reuse(s *spare) File {
	if !s.zeros {
		return nil
	}
	old, ok := d.idle.take()
	if !ok {
		return nil
	}
	f, err := d.Files.Open(old.name, os.O_RDWR)
	if err != nil {
		d.metrics.failed("open")
		_ = d.Files.Remove(old.name) // else the next start does
		return nil
	}
	if err := d.overwrite(f, s, old); err != nil {
		d.discard(old.name, f)
		return nil
	}
	if err := d.syncDir(); err != nil {
		d.discard(s.name, f)
		return nil
	}
	s.size = old.size
	return f
}

// overwrite leaves nothing but zeros in f, and gives it the name of s.
func (d *Disk) overwrite(f File, s *spare, old idleFile) error {
	// Durable first: with its old name a crash would bring back a segment of zeros.
	if err := d.syncDir(); err != nil {
		return err
	}
	done, err := d.zero(f, old.size, s.enough)
	if err != nil {
		return err
	}
	if done < old.size { // it is needed now
		if err := d.reserveAnew(f, done, old.size); err != nil {
			return err
		}
	}
	if err := d.Files.Rename(old.name, s.name); err != nil {
		d.metrics.failed("rename")
		return err
	}
	return nil
}

// reserveAnew replaces what f has from from to size by reserved space, which reads as zeros.
func (d *Disk) reserveAnew(f File, from, size int64) error {
	if err := f.Truncate(from); err != nil {
		d.metrics.failed("truncate")
		return err
	}
	if err := d.allocate(f, size, size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		d.metrics.failed("sync")
		return err
	}
	return nil
}

package spool

import "time"

// spare is the next segment's file, made while the one before it is filled. To make one takes several syncs, for which every group would wait.
//
// It is filled with zeros. A sync of bytes that were written where space was only reserved waits for the file system's journal, and so for what others
// have written to that disk; over zeros it waits for its own bytes alone. The price is that each byte of a busy log is written twice.
//
// A log that is filled as fast as the disk takes it has no use for that: its groups wait for the disk anyway, which would have to take everything twice.
//
// Where a removed segment's file is to be had, it becomes the spare: see reuse.
type spare struct {
	serial uint64
	name   string
	size   int64
	zeros  bool          // it is filled with them
	enough chan struct{} // closed: it is needed now
	made   chan struct{} // closed: file is set; nil: it could not be made
	file   File
}

const (
	// firstBytes is the size of the first segment of a process, which is made while nothing is appended yet. A log that takes next to nothing writes no
	// more zeros than that.
	firstBytes = 4 << 20
	// surge is at how many bytes per second a log has no use for zeros.
	surge = 64 << 20
	// zeroBytes is how much is written between two syncs of a spare: what a group's sync may have to wait for.
	zeroBytes = 256 << 10
)

// prepare begins a spare of size bytes, filled with zeros or not. Where room is short it does not, and the next segment is made when it is needed, of what there is.
func (d *Disk) prepare(size int64, zeros bool) {
	var reserved int64 // by the active segment, and not used
	if d.active != nil {
		reserved = d.limit - d.active.used
	}
	d.mu.Lock()
	room := d.max - d.used - reserved
	d.mu.Unlock()
	if !zeros && room < size+d.idle.bytes() { // none of them becomes this spare
		d.dismiss()
	}
	if free, err := d.Files.Free(d.Dir); room < size || err == nil && free < d.left()+size {
		d.dismiss()
		return
	}
	d.spare = d.nextFile(size)
	d.spare.zeros, d.spare.enough, d.spare.made = zeros && d.durable(), make(chan struct{}), make(chan struct{})
	go d.makeSpare(d.spare)
}

// nextFile names the next segment's file; a name is used once, also when the file cannot be made.
func (d *Disk) nextFile(size int64) *spare {
	d.serial++
	return &spare{serial: d.serial, name: segmentName(d.Dir, d.serial), size: size}
}

// prepareNext begins a spare once a quarter of the active segment is filled.
func (d *Disk) prepareNext() {
	if d.spare == nil && d.active != nil && d.active.used >= d.limit/4 {
		d.prepare(d.segment, float64(d.active.used) < d.surge*time.Since(d.begun).Seconds())
	}
}

func (d *Disk) makeSpare(s *spare) {
	defer close(s.made)
	f := d.reuse(s)
	if f == nil {
		var err error
		if f, err = d.create(s.name, s.size, s.size); err != nil {
			return // told when the writer meets it
		}
		if s.zeros {
			if _, err := d.zero(f, s.size, s.enough); err != nil {
				d.discard(s.name, f)
				return
			}
		}
	}
	s.file = f
	d.spareBytes.Store(s.size)
}

// zero fills f with zeros, up to size or how far it comes before enough is closed, which it returns.
func (d *Disk) zero(f File, size int64, enough <-chan struct{}) (done int64, err error) {
	b := make([]byte, min(zeroBytes, size))
	for done < size {
		select {
		case <-enough:
			return done, nil
		default:
		}
		n := min(int64(len(b)), size-done)
		if err := d.put(f, b[:n], done); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// takeSpare takes the spare as it is; nil: there is none of least bytes.
func (d *Disk) takeSpare(least int64) *spare {
	s := d.spare
	if s == nil {
		return nil
	}
	d.spare = nil
	close(s.enough)
	<-s.made
	d.spareBytes.Store(0)
	if s.file != nil && s.size < least {
		d.discard(s.name, s.file)
		return nil
	}
	if s.file == nil {
		return nil
	}
	return s
}

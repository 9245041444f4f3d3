package spool

// spare is the next segment's file, made while the one before it is filled. To make one takes several syncs, for which every group would wait.
//
// It is filled with zeros. A sync of bytes that were written where space was only reserved waits for the file system's journal, and so for what others
// have written to that disk; over zeros it waits for its own bytes alone. The price is that each byte of a busy log is written twice.
type spare struct {
	serial uint64
	enough chan struct{} // closed: it is needed now
	made   chan struct{} // closed: file is set; nil: it could not be made
	file   File
}

// zeros is how much is written between two syncs of a spare: what a group's sync may have to wait for.
const zeros = 1 << 20

// prepare begins a spare once a quarter of the active segment is filled: a log that takes next to nothing needs none. Where room is short none is made;
// then the next segment is made when it is needed, of what there is.
func (d *Disk) prepare() {
	if d.spare != nil || d.active == nil || d.active.used < d.limit/4 {
		return
	}
	d.mu.Lock()
	room := d.max - d.used - (d.limit - d.active.used)
	d.mu.Unlock()
	if room < d.segment {
		return
	}
	d.serial++
	d.spareBytes.Store(d.segment)
	d.spare = &spare{serial: d.serial, enough: make(chan struct{}), made: make(chan struct{})}
	go d.makeSpare(d.spare)
}

func (d *Disk) makeSpare(s *spare) {
	defer close(s.made)
	name := segmentName(d.Dir, s.serial)
	f, err := d.create(name, d.segment, d.segment)
	if err != nil {
		return // told when the writer meets it
	}
	if d.durable() {
		if err := d.zero(f, s.enough); err != nil {
			d.discard(name, f)
			return
		}
	}
	s.file = f
}

func (d *Disk) zero(f File, enough <-chan struct{}) error {
	b := make([]byte, min(zeros, d.segment))
	for off := int64(0); off < d.segment; off += int64(len(b)) {
		select {
		case <-enough:
			return nil
		default:
		}
		if _, err := f.WriteAt(b[:min(int64(len(b)), d.segment-off)], off); err != nil {
			d.metrics.failed("write")
			return err
		}
		if err := f.Sync(); err != nil {
			d.metrics.failed("sync")
			return err
		}
	}
	return nil
}

// takeSpare takes the spare as far as it is made; the file is nil where there is none.
func (d *Disk) takeSpare() (serial uint64, f File) {
	s := d.spare
	if s == nil {
		return 0, nil
	}
	d.spare = nil
	close(s.enough)
	<-s.made
	d.spareBytes.Store(0)
	return s.serial, s.file
}

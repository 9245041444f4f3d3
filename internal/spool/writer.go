package spool

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
)

// retryBase and retryCap pace the attempts with a disk that fails. There is one writer, so nothing is to be spread.
const (
	retryBase = 100 * time.Millisecond
	retryCap  = time.Second
)

// gather is the least time between the beginnings of two groups that nobody waits for. A group costs a sync, and wakes every sink, whatever it
// holds; without a pause a steady stream of events would pay that for nearly each. A lone event does not wait.
const gather = 2 * time.Millisecond

// write is the writer goroutine.
func (d *Disk) write() {
	var err error
	d.prepare(min(d.segment, firstBytes), true)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ending := false; !ending && err == nil; {
		select {
		case <-d.wake:
			select {
			case <-pause.C:
			case <-d.hurry:
			case <-d.closing:
			}
			pause.Reset(gather)
		case <-d.closing:
			ending = true // nothing is appended any more: what is there is the last
		}
		if g := d.take(); g != nil {
			err = d.commit(g)
		}
	}
	d.finish(err)
}

// commit makes g durable, however long the disk fails meanwhile; once the log is closing it tries once more.
func (d *Disk) commit(g *group) error {
	wait := retryBase
	for last := false; ; wait = min(2*wait, retryCap) {
		begin := time.Now()
		err := d.store(g)
		if err == nil {
			d.metrics.groupSeconds.Observe(time.Since(begin).Seconds())
			d.metrics.groupRecords.Observe(float64(len(g.records)))
			d.landed(g)
			d.prepareNext()
			if wait > retryBase {
				d.Log.Info("spool: the disk takes what is accepted again")
			}
			return nil
		}
		d.failed(err)
		if last {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-d.closing:
			last = true
		}
		timer.Stop()
	}
}

// wordFull is the word for a disk that is full.
const wordFull = "full"

// failed notes why the disk does not take a group.
func (d *Disk) failed(err error) {
	refusal, word := ErrStalled, "failing"
	switch {
	case isFull(err), errors.Is(err, errNoRoom):
		refusal, word = ErrFull, wordFull
		d.dismiss()
	case isReadOnly(err):
		word = "read_only"
	}
	if d.fail(refusal, word) {
		d.Log.Error("spool: the disk fails; what was accepted is kept in memory and tried again", zap.String("state", word), zap.Error(err))
	}
}

// store writes g to the active segment, or to a new one. A segment at which anything fails is retired: it is not known what of the group it holds, and
// a second sync could succeed although the first has dropped what it could not write. The group goes to the next segment, whose header says that
// what the retired one holds of it does not count.
func (d *Disk) store(g *group) error {
	if s := d.active; s != nil && s.used+g.bytes > d.limit {
		d.retire()
	}
	if d.active == nil {
		if err := d.roll(g); err != nil {
			return err
		}
	}
	s := d.active
	off := s.used
	for _, piece := range g.pieces {
		if _, err := s.file.WriteAt(piece, off); err != nil {
			d.metrics.failed("write")
			d.retire()
			return err
		}
		off += int64(len(piece))
	}
	if d.durable() {
		if err := s.file.Sync(); err != nil {
			d.metrics.failed("sync")
			d.retire()
			return err
		}
	}
	return nil
}

// retire ends the active segment where its last durable record ends, and gives back the space behind. That the cut may be undone by a crash does
// no harm: the next segment's header tells what counts.
func (d *Disk) retire() {
	s := d.active
	d.active = nil
	if err := s.file.Truncate(s.used); err != nil {
		d.metrics.failed("truncate")
	}
}

// roll begins a segment for g.
func (d *Disk) roll(g *group) error {
	least := headerBytes + g.bytes
	next := d.takeSpare(least)
	if next == nil {
		d.mu.Lock()
		room := d.max - d.used
		d.mu.Unlock()
		next = d.nextFile(d.segment)
		var err error
		if next.file, err = d.create(next.name, max(least, min(d.segment, room)), least); err != nil {
			return err
		}
	}
	d.state.Lock()
	h := header{serial: next.serial, first: d.end, base: g.from, epoch: d.epoch, alive: d.heard}
	d.state.Unlock()
	s := &segment{header: h, name: next.name, file: next.file, end: h.base, used: headerBytes, indexed: true}
	// Durable also where records need not survive the machine: their positions must, or they would be given again.
	if err := d.put(s.file, s.append(nil), 0); err != nil {
		d.discard(s.name, s.file)
		return err
	}
	d.active, d.limit, d.begun = s, next.size, time.Now()
	d.state.Lock()
	d.segments = append(d.segments, s)
	for _, c := range d.cursors {
		c.extend(s)
	}
	d.state.Unlock()
	d.occupy(headerBytes)
	d.metrics.segments.Inc()
	return nil
}

// put writes b to f at off and makes it durable.
func (d *Disk) put(f File, b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		d.metrics.failed("write")
		return err
	}
	if err := f.Sync(); err != nil {
		d.metrics.failed("sync")
		return err
	}
	return nil
}

// left is what segments leave of the disk, in bytes, to the cursors and the views, which may have grown when they are saved next: if those could not be
// saved, nothing could be removed, and a full disk would stay full when the sinks have everything.
func (d *Disk) left() int64 { return leastLeft + 2*d.viewsBytes.Load() }

const leastLeft = 1 << 20

var errNoRoom = errors.New("the disk is full but for what cursors and views need")

// create makes the file of a segment with as much space as there is, up to size, but no less than least, and makes its name durable. Where it fails
// nothing is left of the file.
func (d *Disk) create(name string, size, least int64) (File, error) {
	if free, err := d.Files.Free(d.Dir); err == nil {
		if size = min(size, free-d.left()); size < least {
			d.metrics.failed("allocate")
			return nil, errNoRoom
		}
	}
	f, err := d.Files.Open(name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		d.metrics.failed("create")
		return nil, err
	}
	if err := d.allocate(f, size, least); err != nil {
		d.discard(name, f)
		return nil, err
	}
	if err := d.syncDir(); err != nil {
		d.discard(name, f)
		return nil, err
	}
	return f, nil
}

// syncDir makes the names of files durable.
func (d *Disk) syncDir() error {
	err := d.Files.SyncDir(d.Dir)
	if err != nil {
		d.metrics.failed("sync_dir")
	}
	return err
}

func (d *Disk) allocate(f File, size, least int64) error {
	err := f.Allocate(size)
	for ; err != nil && size > least; err = f.Allocate(size) {
		// What a failed attempt leaves would keep the disk full.
		if err := f.Truncate(0); err != nil {
			d.metrics.failed("truncate")
			return err
		}
		size = max(size/2, least)
	}
	if err != nil {
		d.metrics.failed("allocate")
	}
	return err
}

// discard gives up the file of a segment that was not begun. What fails here is found and removed by the next start.
func (d *Disk) discard(name string, f File) {
	_ = f.Close()
	_ = d.Files.Remove(name)
}

// landed hands a durable group to the cursors.
func (d *Disk) landed(g *group) {
	s := d.active
	off := s.used
	s.mu.Lock()
	for i := range g.records {
		r := &g.records[i]
		r.Epoch = d.epoch
		for int(r.Pos-s.base)/stride >= len(s.index) {
			s.note(r.Pos, off+int64(g.offsets[i]))
		}
	}
	s.used += g.bytes
	if len(g.records) > 0 {
		s.end = g.end()
	}
	s.mu.Unlock()

	d.state.Lock()
	if !g.alive.IsZero() {
		d.heard = g.alive
	}
	if len(g.records) > 0 {
		d.end = g.end()
		low := d.end
		for _, c := range d.cursors {
			low = min(low, c.take(g, s.used))
		}
		d.recent.add(g, low)
	}
	d.state.Unlock()
	d.settle(g) // last: who waited for it may ask the cursors at once
}

// shut ends the writer after what was appended is durable.
func (d *Disk) shut() error {
	d.mu.Lock()
	if d.ending {
		d.mu.Unlock()
		<-d.closed
		return nil
	}
	d.ending = true
	close(d.closing)
	d.move()
	d.mu.Unlock()
	<-d.closed
	if errors.Is(d.closeErr, ErrClosed) {
		return nil
	}
	return d.closeErr
}

// finish is the writer's last step. err says why something that was appended is not durable.
func (d *Disk) finish(err error) {
	if d.active != nil {
		d.retire()
	}
	if s := d.takeSpare(0); s != nil {
		d.discard(s.name, s.file)
	}
	d.dismiss()
	d.mu.Lock()
	d.closeErr = ErrClosed
	if err != nil {
		d.closeErr = fmt.Errorf("%d records are not durable: %w", d.appended-d.committed, err)
	}
	d.move()
	d.mu.Unlock()
	close(d.closed)
}

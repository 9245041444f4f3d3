package spool

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

// The checkpoint's file is, little endian: 8 bytes "TBVIEWS\n", u16 major version, u16 minor version; what the bridge saves; u64 noted, u64 end,
// i64 alive (ns since 1970; 0: none), u32 CRC32C of all before.
type checkpoint struct {
	views []byte
	noted Pos       // what was appended from here on may be missing in views
	end   Pos       // nothing from here on is in views
	alive time.Time // the newest before noted
}

const (
	checkpointMagic = "TBVIEWS\n"
	checkpointHead  = 12
	checkpointTail  = 28
)

func parseCheckpoint(b []byte) (*checkpoint, error) {
	n := len(b) - checkpointTail
	if n < checkpointHead || string(b[:8]) != checkpointMagic || byteOrder.Uint32(b[n+24:]) != crc32.Checksum(b[:n+24], castagnoli) {
		return nil, errUnusable
	}
	if byteOrder.Uint16(b[8:]) > formatMajor {
		return nil, errNewer
	}
	return &checkpoint{
		views: b[checkpointHead:n], noted: Pos(byteOrder.Uint64(b[n:])), end: Pos(byteOrder.Uint64(b[n+8:])),
		alive: instant(int64(byteOrder.Uint64(b[n+16:]))),
	}, nil
}

func (c *checkpoint) load(load func(io.Reader) error) error {
	if load == nil {
		return nil
	}
	return load(bytes.NewReader(c.views))
}

// Checkpoint implements [Log].
func (d *Disk) Checkpoint(save func(io.Writer) error) error { return d.checkpoint(save, d.await) }

// checkpoint waits with wait until as many entries are durable as were appended before the end of save: else a crash could leave views that know of
// more than the log has, and what they know would not be told again.
func (d *Disk) checkpoint(save func(io.Writer) error, wait func(entries uint64) error) error {
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	if d.over() {
		return ErrClosed
	}
	name := d.path(checkpointName)
	temp := name + tempSuffix
	noted, err := d.saveViews(temp, save, wait)
	if err == nil {
		err = d.Files.Rename(temp, name)
	}
	if err == nil && d.durable() {
		err = d.Files.SyncDir(filepath.Dir(name))
	}
	if err != nil {
		d.metrics.failed("checkpoint")
		return fmt.Errorf("checkpoint: %w", err)
	}
	d.state.Lock()
	d.noted = noted
	d.state.Unlock()
	d.release()
	return nil
}

func (d *Disk) saveViews(temp string, save func(io.Writer) error, wait func(uint64) error) (Pos, error) {
	if err := d.Files.Remove(temp); err != nil && !os.IsNotExist(err) {
		return 0, err
	}
	f, err := d.Files.Open(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	if err != nil {
		return 0, err
	}
	noted, entries, err := d.writeViews(f, save)
	if err == nil && d.durable() {
		err = f.Sync()
	}
	if size, unknown := f.Size(); err == nil && unknown == nil {
		d.viewsBytes.Store(size)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = wait(entries)
	}
	if err != nil {
		_ = d.Files.Remove(temp) // the next start removes it as well
	}
	return noted, err
}

// writeViews writes the file's content; entries is what must be durable before it counts.
func (d *Disk) writeViews(f File, save func(io.Writer) error) (noted Pos, entries uint64, err error) {
	sum := crc32.New(castagnoli)
	w := bufio.NewWriterSize(io.MultiWriter(sum, io.NewOffsetWriter(f, 0)), 64<<10)
	head := append([]byte(nil), checkpointMagic...)
	head = byteOrder.AppendUint16(head, formatMajor)
	head = byteOrder.AppendUint16(head, formatMinor)
	if _, err := w.Write(head); err != nil {
		return 0, 0, err
	}
	d.mu.Lock()
	noted, alive := d.last, d.alive
	d.mu.Unlock()
	if err := save(w); err != nil {
		return 0, 0, err
	}
	d.mu.Lock()
	end, entries := d.last, d.appended
	d.mu.Unlock()
	tail := byteOrder.AppendUint64(nil, uint64(noted))
	tail = byteOrder.AppendUint64(tail, uint64(end))
	tail = byteOrder.AppendUint64(tail, uint64(nanos(alive)))
	if _, err := w.Write(tail); err != nil {
		return 0, 0, err
	}
	if err := w.Flush(); err != nil {
		return 0, 0, err
	}
	if _, err := w.Write(byteOrder.AppendUint32(nil, sum.Sum32())); err != nil {
		return 0, 0, err
	}
	return noted, entries, w.Flush()
}

// release removes what is needed no more. A sink that wants nothing of a segment has delivered nothing of it, so that nobody came to save its cursor:
// that is made good here, or the segment would stay for ever.
func (d *Disk) release() {
	var late []*diskCursor
	d.state.Lock()
	for _, c := range d.cursors {
		if c.late() {
			late = append(late, c)
		}
	}
	d.state.Unlock()
	for _, c := range late {
		if err := c.saveAgain(); err != nil {
			d.Log.Warn("spool: making room failed, will be tried again", zap.Error(err))
		}
	}
	d.clean()
}

// clean removes the segments that neither the checkpoint nor a cursor, as it is in its file, needs any more. The newest stays: its header tells where
// the log goes on.
func (d *Disk) clean() {
	var gone []*segment
	d.state.Lock()
	for i := 0; i < len(d.segments)-1; {
		s := d.segments[i]
		if end, used := s.extent(); d.needed(i, end) {
			i++
		} else {
			gone = append(gone, s)
			d.segments = append(d.segments[:i:i], d.segments[i+1:]...)
			for _, c := range d.cursors {
				c.drop(i)
			}
			d.occupy(-used)
		}
	}
	d.state.Unlock()
	d.remove(gone)
}

const (
	shrinkBytes = 8 << 20
	shrinkPause = 10 * time.Millisecond
	shrinkMost  = 500 * time.Millisecond // of pauses, however much there is to remove
)

// remove removes segments, of which nothing is needed: what fails here the next start finds and removes.
//
// A few are kept, to be used again. Of the others a large one is cut bit by bit: a file system frees all blocks of a removed file in one step, and where it is
// mounted with discard tells the device of each; every sync waits for that. Both happen under another name, because under its own a part of it would look like
// damage after a crash.
func (d *Disk) remove(gone []*segment) {
	began := time.Now()
	for _, s := range gone {
		d.metrics.segments.Dec()
		_ = s.close(errGone) // from now on nobody reads it
		name := s.name
		_, used := s.extent()
		if s.sound() && d.keep(name, used) {
			continue
		}
		if used > shrinkBytes && d.Files.Rename(name, name+tempSuffix) == nil {
			name += tempSuffix
			d.shrink(name, used, began)
		}
		if err := d.Files.Remove(name); err != nil && !os.IsNotExist(err) {
			d.metrics.failed("remove")
		}
	}
}

func (d *Disk) shrink(name string, left int64, began time.Time) {
	f, err := d.Files.Open(name, os.O_RDWR)
	if err != nil {
		return // it is removed in one step
	}
	defer func() { _ = f.Close() }() // nothing in it is needed
	pause := time.NewTicker(shrinkPause)
	defer pause.Stop()
	for left -= shrinkBytes; left > 0 && time.Since(began) < shrinkMost && f.Truncate(left) == nil; left -= shrinkBytes {
		select {
		case <-pause.C:
		case <-d.closing:
			return
		}
	}
}

// needed is called with state held.
func (d *Disk) needed(i int, end Pos) bool {
	return d.unnoted(i, end) || slices.ContainsFunc(d.cursors, func(c *diskCursor) bool { return !c.saves(i) })
}

// unnoted reports whether the checkpoint lacks something of segment i. It is called with state held.
func (d *Disk) unnoted(i int, end Pos) bool { return end > d.segments[i].base && d.noted < end }

// Overdue implements [Log].
func (d *Disk) Overdue() bool {
	stale := d.stale()
	d.mu.Lock()
	normal := d.normal
	d.mu.Unlock()
	return overdue(stale, normal) || stale > 0 && d.tight()
}

// overdue says of how much a checkpoint should not wait for its time.
func overdue(stale, normal int64) bool { return stale > normal/5 }

// stale is how many bytes the next checkpoint lets go of: it also saves the cursors that are done and have not said so in their files.
func (d *Disk) stale() (bytes int64) {
	d.state.Lock()
	defer d.state.Unlock()
	for i, s := range d.segments[:max(0, len(d.segments)-1)] {
		end, used := s.extent()
		if d.unnoted(i, end) && !slices.ContainsFunc(d.cursors, func(c *diskCursor) bool { return c.holds(i) }) {
			bytes += used
		}
	}
	return bytes
}

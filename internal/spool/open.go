package spool

import (
	"fmt"
	"math"
	"os"
	"strings"

	"go.uber.org/zap"
)

// Open opens the log in o.Dir, or makes one. Damage is reported, never an error. Errors: another process has the folder, the disk does not work, a file is
// of a later format, an option is out of range. The log must be closed.
func Open(o Options) (*Disk, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := o.Files.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	d := &Disk{Options: o}
	d.damage.disk = d
	lock, err := o.Files.Lock(d.path(lockName))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	d.lock = lock
	v, err := look(o.Files, o.Dir)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	d.metrics = newMetrics()
	d.adopt(v)
	d.bound()
	if err := d.metrics.register(o.Registerer, d); err != nil {
		v.close()
		_ = lock.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	go d.write()
	return d, nil
}

// adopt goes on from what the folder holds.
func (d *Disk) adopt(v *survey) {
	d.wake, d.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	d.closing, d.closed = make(chan struct{}), make(chan struct{})
	d.segments, d.end, d.heard, d.heardAt, d.views = v.segments, max(v.end, 1), v.alive, v.aliveAt, v.views
	if d.epoch = v.epoch; d.epoch == 0 {
		d.epoch = d.Now().Unix()
	}
	d.alive = d.heard
	d.metrics.segments.Set(float64(len(d.segments)))
	for _, b := range v.damage {
		d.damage.records(b.seg, b.stretch)
	}
	removed := map[string]bool{}
	for _, name := range v.left {
		err := d.Files.Remove(d.path(name))
		if err != nil {
			d.metrics.failed("remove")
		}
		removed[name] = err == nil
	}
	for _, name := range v.unusable {
		d.damage.file(name, consequence(name))
	}
	if v.cut > 0 {
		d.damage.torn(v.cut)
	}
	next := max(d.end, v.given)
	for _, s := range d.segments {
		d.used += s.used
		d.serial = max(d.serial, s.serial)
	}
	for _, name := range v.names {
		// Also of those that are set aside, because a name is used once; but not of one that was only made beforehand: serials without a hole tell more of damage.
		if serial, ok := segmentSerial(name); ok && !removed[name] {
			d.serial = max(d.serial, serial)
		}
	}
	if n := len(d.segments); n > 0 {
		// It was preallocated. Should a crash undo this, the next segment's header tells what counts.
		if err := d.truncate(d.segments[n-1]); err != nil {
			d.metrics.failed("truncate")
		}
	}
	d.cursors = v.restored()
	for i, c := range d.cursors {
		c.log = d
		if c.lost > 0 {
			d.damage.missing(c.sink, c.lost)
		}
		next = max(next, v.cursors[i].end)
	}
	if v.views != nil {
		d.viewsBytes.Store(int64(len(v.views.views)))
		next = max(next, v.views.end)
		if v.views.end > d.end { // set aside, or it would fit again once the log has gone on
			d.damage.file(checkpointName, "it knows of records that the log has lost; "+consequence(checkpointName))
			d.views = nil
		} else {
			d.noted = v.views.noted
		}
	}
	if next > 1 {
		next += leap
	}
	d.next, d.last = next, d.end
}

func consequence(name string) string {
	switch {
	case name == checkpointName:
		return "the views are made from the records alone"
	case strings.HasPrefix(name, cursorPrefix):
		return "its sink gets again what the log still holds"
	}
	return "its records are lost"
}

func (d *Disk) truncate(s *segment) error {
	f, err := d.Files.Open(s.name, os.O_RDWR)
	if err != nil {
		return err
	}
	err = f.Truncate(s.used)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

// bound finds how large the log may become.
func (d *Disk) bound() {
	d.max = d.MaxBytes
	if free, err := d.Files.Free(d.Dir); err != nil {
		d.Log.Warn("spool: it is not known how much space the disk has", zap.Error(err))
	} else if most := d.used + free - free/16; most < d.max { // a disk that is full to the last byte stops others as well
		// What is free now says little when it is next to nothing; a full disk is found when it is written to.
		d.max, d.clamped = max(most, min(minMaxBytes, d.max)), true
		d.Log.Warn("spool: the disk has less space than the bound; the bound is lowered", zap.Int64("bound", d.MaxBytes), zap.Int64("lowered_to", d.max))
	}
	d.segment, d.surge = min(maxSegmentBytes, d.max/8), surge
	// The newest file stays until there is a newer one. A bound that was lowered to less than it holds would never take what makes one.
	if n := len(d.segments); n > 0 {
		if least := d.segments[n-1].used + d.max/2; least > d.max {
			d.Log.Warn("spool: one file of the log holds more than half of the bound; the bound is raised until the next start", zap.Int64("bound", d.max), zap.Int64("raised_to", least))
			d.max = least
		}
	}
	if d.segmentBytes > 0 {
		d.segment, d.surge = d.segmentBytes, math.Inf(1)
	}
	d.capacity = min(maxStageBytes, d.segment-headerBytes)
	d.reserve(d.Options.Reserve)
}

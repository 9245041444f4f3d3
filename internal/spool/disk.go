package spool

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Survival says which end of the process an accepted event survives.
type Survival uint8

// PowerLoss waits for the disk with every group of records. ProcessCrash hands them to the operating system: they survive the process, however it
// ends, and not the machine.
const (
	PowerLoss Survival = iota
	ProcessCrash
)

// Options are what a [Disk] needs to know. Dir is required; every other zero value takes the default named.
type Options struct {
	// Dir is the log's folder; it is made where it does not exist. One process at a time.
	Dir string
	// Survives is what is promised; default PowerLoss.
	Survives Survival
	// MaxBytes bounds the segments; default 8 GiB, at least 32 MiB. It is lowered to what the disk has, with a warning.
	MaxBytes int64
	// Reserve is the part of MaxBytes that only Class Reserve may use; default 1 MiB, at most half of MaxBytes.
	Reserve int64
	// SkipSlowest lets [Disk.Skip] take from the slowest sink; without it, a full log refuses.
	SkipSlowest bool
	// Now is the clock of the log's epoch; default time.Now.
	Now func() time.Time
	// Files are the file operations; default OS.
	Files Files
	// Log gets what an operator must know; default none.
	Log *zap.Logger
	// Registerer gets the metrics; default none.
	Registerer prometheus.Registerer

	segmentBytes int64 // tests only: far smaller segments, always with zeros, and no lower limit for MaxBytes
}

const (
	defaultMaxBytes = 8 << 30
	minMaxBytes     = 32 << 20
	maxSegmentBytes = 64 << 20
	maxStageBytes   = 8 << 20
)

func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("spool: no folder given")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxBytes < minMaxBytes && o.segmentBytes == 0 {
		return fmt.Errorf("spool: a bound of %d bytes is below the least, %d", o.MaxBytes, minMaxBytes)
	}
	if o.Reserve <= 0 {
		o.Reserve = defaultReserve
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Files == nil {
		o.Files = OS
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	return nil
}

// Disk is a Log in the files of one folder. What counts as durable survives what Options.Survives names.
//
// Appending encodes into a stage in memory. One writer goroutine takes the stage, writes it to the newest segment, syncs, and hands its records
// to the cursors. Each segment is written once, by one process, from its beginning to its end; what fails is written again in the next.
type Disk struct {
	Options
	lock    io.Closer
	epoch   int64
	segment int64   // the size of one
	surge   float64 // bytes per second from which on spares get no zeros
	metrics *metrics
	clamped bool
	// viewsBytes is what the newest checkpoint takes on the disk.
	viewsBytes atomic.Int64
	// spareBytes is what the spare takes, once it is made.
	spareBytes atomic.Int64
	idle       idle

	stage

	// Of the writer goroutine alone.
	active *segment
	limit  int64     // of the active segment's bytes
	begun  time.Time // when it was
	serial uint64    // the last that was used
	spare  *spare    // nil: there is none

	// state guards what follows. It is taken before a cursor's and a segment's mutex, never after.
	state    sync.Mutex
	segments []*segment // by serial; the last may be active
	cursors  []*diskCursor
	recent   recent
	end      Pos // behind the last durable record
	noted    Pos // where folding begins by the newest checkpoint; 0: there is none
	fixed    bool
	views    *checkpoint // the one found at Open, until Recover
	heard    time.Time   // the newest alive record found at Open
	heardAt  Pos

	checkpointing sync.Mutex
	skipping      sync.Mutex
	damage        damage
}

var _ Log = (*Disk)(nil)

// leap separates the positions of one process from those of the next: which ones were given out and lost with a crash is not known, and where a process
// crash alone is survived a sink may have seen them. 2³² positions are hours of the most that a log can take, and the numbers last for 2³¹ processes.
const leap = 1 << 32

// Cursor implements [Log].
func (d *Disk) Cursor(sink string, o CursorOptions) (Cursor, error) {
	d.state.Lock()
	defer d.state.Unlock()
	if d.fixed {
		return nil, fmt.Errorf("cursor %q: made after Recover or the first Append, it would miss records", sink)
	}
	c := d.cursor(sink)
	switch {
	case c == nil:
		c = newDiskCursor(sink, d.end)
		c.log = d
		for _, s := range d.segments {
			c.parts = append(c.parts, newPart(s, o.Now))
		}
		// So that the next process knows what this sink has to get. Where that fails the sink begins anew then, as it would now.
		if err := c.store(new([]byte)); err != nil && o.Now {
			return nil, fmt.Errorf("cursor %q: %w", sink, err)
		}
		d.cursors = append(d.cursors, c)
	case c.opened:
		return nil, fmt.Errorf("cursor %q: exists already", sink)
	}
	c.start(o)
	d.metrics.skipped.WithLabelValues(sink)
	return c, nil
}

// cursor finds a cursor by name. It is called with state held.
func (d *Disk) cursor(sink string) *diskCursor {
	for _, c := range d.cursors {
		if c.sink == sink {
			return c
		}
	}
	return nil
}

// fix ends the time in which cursors are opened.
func (d *Disk) fix() {
	d.state.Lock()
	defer d.state.Unlock()
	if d.fixed {
		return
	}
	d.fixed = true
	for _, c := range d.cursors {
		if !c.opened {
			d.Log.Warn("spool: a sink that is not configured holds what it has not got; bring it back, or see bridge spool forget", zap.String("sink", c.sink))
		}
	}
}

// Recover implements [Log].
func (d *Disk) Recover(load func(io.Reader) error, fold func(*Record)) (time.Time, error) {
	d.fix()
	views := d.views
	d.views = nil
	from, alive := Pos(0), d.heard
	if views != nil {
		if err := views.load(load); err != nil {
			d.damage.checkpoint(err)
		} else {
			from = views.noted
		}
		if d.heardAt < views.noted || alive.IsZero() {
			alive = views.alive
		}
	}
	for _, s := range d.held() {
		end, _ := s.extent()
		for at := max(from, s.base); at < end; {
			n := min(end-at, 1024)
			want := make([]Pos, n)
			for i := range want {
				want[i] = at + Pos(i)
			}
			err := d.read(s, want, func(f *frame) {
				if r, target := f.record(d.epoch); target == "" {
					fold(&r)
				}
			})
			if err != nil {
				return time.Time{}, err
			}
			at += n
		}
	}
	return alive, nil
}

// held is the segments as they are now.
func (d *Disk) held() []*segment {
	d.state.Lock()
	defer d.state.Unlock()
	return append([]*segment(nil), d.segments...)
}

// read calls visit with the records of s at want, which rise, and finds out what has become of those that cannot be read.
func (d *Disk) read(s *segment, want []Pos, visit func(*frame)) error {
	next := Pos(0) // not to be visited again
	once := func(f *frame) {
		if f.pos >= next {
			next = f.pos + 1
			visit(f)
		}
	}
	for range 3 { // what was scanned just now is damaged again: not more often than a disk can explain
		err := s.read(d.Files, want, once)
		if !errors.Is(err, errRescan) {
			return d.unread(err)
		}
		news, err := s.scan(d.Files)
		if err != nil {
			return d.unread(err)
		}
		d.lose(s, news)
	}
	return d.unread(errRescan)
}

// unread is the error of a read. A segment that was removed meanwhile is none: all in it was done.
func (d *Disk) unread(err error) error {
	if err == nil || errors.Is(err, errGone) {
		return nil
	}
	d.metrics.failed("read")
	return fmt.Errorf("read the log: %w", err)
}

// lose reports damage, and counts the records that were there as done.
func (d *Disk) lose(s *segment, news []stretch) {
	for _, b := range news {
		d.damage.records(s, b)
	}
	if len(news) == 0 {
		return
	}
	d.state.Lock()
	defer d.state.Unlock()
	for _, c := range d.cursors {
		for _, b := range news {
			c.lose(s, b.first, b.next)
		}
	}
}

// Reserve implements [Log].
func (d *Disk) Reserve(bytes int64) { d.reserve(bytes) }

// Append implements [Log].
func (d *Disk) Append(c Class, e *event.Encoded) (Pos, error) { return d.append(c, "", e) }

// AppendFor implements [Log].
func (d *Disk) AppendFor(sink string, e *event.Encoded) (Pos, error) {
	d.state.Lock()
	c := d.cursor(sink)
	d.state.Unlock()
	if c == nil {
		return 0, fmt.Errorf("append for %q: there is no such cursor", sink)
	}
	return d.append(Normal, sink, e)
}

// Close implements [Log].
func (d *Disk) Close() error {
	err := d.shut()
	for _, s := range d.held() {
		if closing := s.close(ErrClosed); err == nil {
			err = closing
		}
	}
	if d.lock != nil {
		if closing := d.lock.Close(); err == nil {
			err = closing
		}
	}
	return err
}

func (d *Disk) path(name string) string { return filepath.Join(d.Dir, name) }

// durable reports whether files are to be synced.
func (d *Disk) durable() bool { return d.Survives == PowerLoss }

// everything is above all positions.
const everything = Pos(math.MaxUint64)

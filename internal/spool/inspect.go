package spool

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Report is what [Inspect] finds in a log's folder.
type Report struct {
	Epoch    time.Time // when the log was created; zero where no segment says so
	Alive    time.Time // the newest alive record; zero: none
	Segments []SegmentReport
	Cursors  []CursorReport
	// Views is the size of the checkpoint in bytes, and ViewsFrom the position from which records are newer than it; 0: there is none.
	Views     int64
	ViewsFrom Pos
	Records   int   // in all segments
	Corrupt   int64 // records damaged, at least
	// Torn is how many bytes at the end the next start cuts off. Beside a running bridge it may be what is being written.
	Torn     int64
	Unusable []string           // files that the next start sets aside
	Types    map[event.Type]int // records by type
}

// SegmentReport is one file of the log.
type SegmentReport struct {
	Name        string
	First, Last Pos // 0: it holds no record
	Records     int
	Bytes       int64
	Corrupt     int64 // records damaged, at least
}

// CursorReport is one sink's place, as saved last.
type CursorReport struct {
	Sink    string
	Next    Pos // everything below is done
	Pending int // records not done
	Oldest  event.Instant
	Mark    int // bytes of the sink's mark
	Lost    int // records not done that are in no segment
}

// Inspect reads the log in dir and changes nothing, also beside a running bridge: what that appends or removes meanwhile may be in the report or not.
// Damage is reported, never an error.
func Inspect(dir string) (Report, error) {
	if err := isLog(dir); err != nil {
		return Report{}, err
	}
	v, err := look(OS, dir)
	if err != nil {
		return Report{}, fmt.Errorf("spool: %w", err)
	}
	defer v.close()
	return v.report()
}

func (v *survey) report() (Report, error) {
	r := Report{Alive: v.alive, Torn: v.cut, Unusable: v.unusable, Types: map[event.Type]int{}}
	if v.epoch != 0 {
		r.Epoch = time.Unix(v.epoch, 0).UTC()
	}
	if v.views != nil {
		r.Views, r.ViewsFrom = int64(len(v.views.views)), v.views.noted
	}
	cursors := v.restored()
	oldest := make([]event.Instant, len(cursors))
	for _, s := range v.segments {
		one, err := v.inspect(s, func(rec *Record) {
			r.Types[rec.Header.Type]++
			for i, c := range cursors {
				if p := c.part(rec.Pos); oldest[i] == 0 && p != nil && !p.isDone(rec.Pos) {
					oldest[i] = rec.Header.Recorded
				}
			}
		})
		if err != nil {
			return Report{}, fmt.Errorf("spool: %s: %w", s.name, err)
		}
		if v.removed(s) { // and its file is another segment's by now
			continue
		}
		r.Segments = append(r.Segments, one)
		r.Records += one.Records
		r.Corrupt += one.Corrupt
	}
	for i, c := range cursors {
		one := CursorReport{Sink: c.sink, Next: c.first(), Oldest: oldest[i], Mark: len(c.mark), Lost: c.lost}
		for _, p := range c.parts {
			one.Pending += p.open
		}
		r.Cursors = append(r.Cursors, one)
	}
	return r, nil
}

// removed reports whether a running bridge has removed the segment since the survey was made.
func (v *survey) removed(s *segment) bool {
	names, err := v.files.List(v.dir)
	return err == nil && !slices.Contains(names, filepath.Base(s.name))
}

// inspect reads one segment.
func (v *survey) inspect(s *segment, visit func(*Record)) (SegmentReport, error) {
	r := SegmentReport{Name: filepath.Base(s.name), Bytes: s.used}
	sc := scanner{r: s.file, size: s.used}
	sp, err := sc.scan(headerBytes, s.base, true, s.end, func(_ int64, f *frame) {
		if f.kind != kindEvent {
			return
		}
		rec, _ := f.record(v.epoch)
		visit(&rec)
		if r.Records++; r.First == 0 {
			r.First = rec.Pos
		}
		r.Last = rec.Pos
	})
	for _, b := range sp.bad {
		r.Corrupt += b.records()
	}
	if !v.whole[s] {
		r.Corrupt++
	}
	if sp.end < s.end {
		r.Corrupt += int64(s.end - sp.end)
	}
	return r, err
}

// isLog tells a log's folder from others, so that a slip of the pen does not pass for an empty log.
func isLog(dir string) error {
	names, err := OS.List(dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return name == lockName || strings.HasSuffix(name, ".seg") }) {
		return fmt.Errorf("spool: %s is no spool: it holds neither a lock nor a segment", dir)
	}
	return nil
}

// Forget removes the cursor of a sink that is not to come back, in a log that no process has open: what only that sink had not got is freed by the next
// one. Errors: the log is open, or has no such cursor.
func Forget(dir, sink string) error {
	if err := isLog(dir); err != nil {
		return err
	}
	lock, err := OS.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	err = OS.Remove(filepath.Join(dir, cursorName(sink)))
	if err == nil {
		err = OS.SyncDir(dir)
	}
	if err = errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("spool: forget %s: %w", sink, err)
	}
	return nil
}

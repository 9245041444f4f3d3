package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// survey is what a log's folder holds. Making one changes nothing.
type survey struct {
	files    Files
	dir      string
	segments []*segment
	sizes    map[*segment]int64
	whole    map[*segment]bool // the header is sound
	damage   []damagedPart
	cut      int64     // bytes behind the last record that counts, which a crash has torn
	end      Pos       // behind the last record
	given    Pos       // positions up to here may have been given
	holes    []stretch // positions that are in no segment
	epoch    int64     // 0: not known
	alive    time.Time
	aliveAt  Pos

	cursors  []*cursorState
	views    *checkpoint
	unusable []string // names of files to be set aside
	left     []string // names of files that a crash has left half made
	names    []string // of all files
}

type damagedPart struct {
	seg *segment
	stretch
}

// look makes a survey. Its errors are those of the disk, and formats of a later version; damage is none.
func look(files Files, dir string) (*survey, error) {
	v := &survey{files: files, dir: dir, sizes: map[*segment]int64{}, whole: map[*segment]bool{}}
	err := v.run()
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *survey) close() {
	for _, s := range v.segments {
		_ = s.close(ErrClosed) // it was only read
	}
}

func (v *survey) run() error {
	names, err := v.files.List(v.dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	v.names = names
	for _, name := range names {
		if err := v.file(name); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(v.dir, name), err)
		}
	}
	slices.SortFunc(v.segments, func(a, b *segment) int { return int(int64(a.serial) - int64(b.serial)) })
	if err := v.extents(); err != nil {
		return err
	}
	v.findHoles()
	return v.findAlive()
}

// findHoles finds the positions between the segments. Those before the base of a segment, which no process has given, are none.
func (v *survey) findHoles() {
	end, serial := Pos(1), uint64(0)
	for _, s := range v.segments {
		switch {
		case s.first <= end:
		case v.whole[s]:
			v.holes = append(v.holes, stretch{first: end, next: s.first})
		case s.serial == serial+1:
			// The header is damaged, so that base is that of the first record left. The true one is where the segment before ends, or where a process begins;
			// then the records that are lost must have had room before the first one left.
			base, most := end, Pos(leap)
			if s.base-end >= leap {
				base, most = end+leap, 0
				if len(s.bad) > 0 {
					most = Pos((s.bad[0].to - headerBytes) / recordFixed)
				}
			}
			if s.base-base <= most {
				i := slices.IndexFunc(v.damage, func(d damagedPart) bool { return d.seg == s })
				v.damage[i].first, v.damage[i].next = base, s.base
			}
		}
		end, serial = max(end, s.behind()), s.serial
	}
}

// file looks at one file of the folder.
func (v *survey) file(name string) error {
	if serial, ok := segmentSerial(name); ok {
		return v.segment(name, serial)
	}
	switch {
	case strings.HasSuffix(name, tempSuffix):
		v.left = append(v.left, name)
		return nil
	case name != checkpointName && !strings.HasPrefix(name, cursorPrefix):
		return nil
	}
	b, err := readFile(v.files, filepath.Join(v.dir, name))
	if err != nil {
		return v.gone(err)
	}
	if name == checkpointName {
		v.views, err = parseCheckpoint(b)
	} else {
		var c *cursorState
		if c, err = parseCursor(b); err == nil {
			v.cursors = append(v.cursors, c)
		}
	}
	if errors.Is(err, errUnusable) {
		v.unusable = append(v.unusable, name)
		return nil
	}
	return err
}

// gone is err, but for a file that a running bridge has removed meanwhile.
func (v *survey) gone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// segment opens a segment and reads its header. Where that is damaged its records tell the rest.
func (v *survey) segment(name string, serial uint64) error {
	path := filepath.Join(v.dir, name)
	f, err := v.files.Open(path, os.O_RDONLY)
	if err != nil {
		return v.gone(err)
	}
	s := &segment{name: path, file: f}
	size, err := f.Size()
	if err != nil {
		_ = f.Close()
		return err
	}
	sc := scanner{r: f, size: size}
	b, err := sc.bytes(0, headerBytes)
	if err != nil {
		_ = f.Close()
		return err
	}
	h, ok, err := parseHeader(b)
	if err != nil {
		_ = f.Close()
		return err
	}
	if !ok || h.serial != serial {
		sp, err := sc.scan(min(headerBytes, size), 1, false, everything, nil)
		if err != nil {
			_ = f.Close()
			return err
		}
		if sp.proved == 0 { // no record
			_ = f.Close()
			if sp.junk > headerBytes {
				v.unusable = append(v.unusable, name)
			} else {
				v.left = append(v.left, name) // it was never used
			}
			return nil
		}
		h = header{serial: serial, first: sp.base, base: sp.base}
		v.damage = append(v.damage, damagedPart{s, stretch{from: 0, to: headerBytes}})
	}
	s.header = h
	v.segments = append(v.segments, s)
	v.sizes[s], v.whole[s] = size, ok
	if v.epoch == 0 {
		v.epoch = h.epoch
	}
	return nil
}

// extents finds where each segment ends. That of a segment is known from the next one, which was made when it was full; where that one is
// missing or damaged, and for the last segment, the records are read.
func (v *survey) extents() error {
	limit := everything
	for i := len(v.segments) - 1; i >= 0; i-- {
		s := v.segments[i]
		s.end, s.used = max(limit, s.base), v.sizes[s]
		next := i + 1
		var err error
		switch {
		case next == len(v.segments):
			err = v.tail(s)
		case s.base >= limit:
			s.end, s.used = s.base, headerBytes // all of it is superseded
		case !v.whole[s], !v.whole[v.segments[next]], v.segments[next].serial != s.serial+1, limit-s.base > Pos(s.used/recordFixed):
			err = v.inner(s, limit)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		limit = min(limit, s.first)
		v.end, v.given = max(v.end, s.behind()), max(v.given, s.base)
	}
	return nil
}

// inner reads a segment that is not the last.
func (v *survey) inner(s *segment, limit Pos) error {
	sp, err := v.read(s, v.sizes[s], limit)
	if err != nil {
		return err
	}
	s.end, s.used = sp.end, sp.used
	for _, b := range sp.bad {
		v.damage = append(v.damage, damagedPart{s, b})
	}
	return nil
}

// read scans a segment and takes over its index.
func (v *survey) read(s *segment, size int64, limit Pos) (span, error) {
	s.index = nil
	sc := scanner{r: s.file, size: size}
	sp, err := sc.scan(headerBytes, s.base, v.whole[s], limit, func(off int64, f *frame) {
		if f.takesPosition() {
			s.note(f.pos, off)
		}
	})
	s.bad, s.indexed = sp.bad, true
	return sp, err
}

// tail reads the last segment. A bad stretch of which some later record proves that it was durable is damage. The first one without such a proof is where
// a crash has torn a group; what lies behind it goes too, valid or not: later records of a group without the earlier ones would hide a loss,
// because the gap after a crash begins at the last alive record, and that may be one of them.
func (v *survey) tail(s *segment) error {
	sp, err := v.read(s, v.sizes[s], everything)
	if err != nil {
		return err
	}
	junk := sp.junk
	torn := slices.IndexFunc(sp.bad, func(b stretch) bool { return b.to > sp.proved })
	if torn >= 0 {
		cut := max(sp.bad[torn].from, sp.proved)
		if sp, err = v.read(s, cut, everything); err != nil {
			return err
		}
		if sp.used < cut { // the bad stretch begins in what was durable
			sp.bad = append(sp.bad, stretch{sp.used, cut, sp.end, sp.end})
			s.bad, sp.used = sp.bad, cut
		}
	}
	s.end, s.used = sp.end, sp.used
	v.alive, v.aliveAt = sp.alive, sp.aliveAt
	v.cut = max(0, junk-sp.used)
	for _, b := range sp.bad {
		v.damage = append(v.damage, damagedPart{s, b})
	}
	return nil
}

// findAlive finds the newest alive record. A sound header has what there was before, so this goes on beyond the last segment only after damage.
func (v *survey) findAlive() error {
	for i := len(v.segments) - 1; i >= 0 && v.alive.IsZero(); i-- {
		s := v.segments[i]
		if i < len(v.segments)-1 {
			sp, err := v.read(s, s.used, v.segments[i+1].first)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			v.alive, v.aliveAt = sp.alive, sp.aliveAt
		}
		if v.alive.IsZero() {
			v.alive, v.aliveAt = s.alive, s.first
		}
		if v.whole[s] {
			return nil
		}
	}
	return nil
}

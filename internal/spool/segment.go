package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// segment is one file of the log. Its records are dense: position p is the p-base'th, but for what is damaged.
type segment struct {
	header
	name string

	// using is held for reading while the file is read from, so that it is not closed meanwhile. It is taken before mu.
	using sync.RWMutex
	file  File  // nil: not open
	gone  error // why it cannot be opened any more

	mu      sync.Mutex
	end     Pos       // the position after the last durable record
	used    int64     // bytes of it that count
	indexed bool      // index and bad are complete
	index   []int64   // index[k]: where the first event at or above base + k*stride begins
	bad     []stretch // bytes without valid records
}

// stride is a compromise: every position would cost the memory of millions, fewer mean that more is read for one record.
const stride = 8

// note adds an event to the index, in the order of the log.
func (s *segment) note(pos Pos, off int64) {
	for slot := int(pos-s.base) / stride; len(s.index) <= slot; {
		s.index = append(s.index, off)
	}
}

// extent is the positions and the bytes that are durable.
func (s *segment) extent() (end Pos, used int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end, s.used
}

// sound reports whether nothing in it is known to be damaged.
func (s *segment) sound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bad) == 0
}

// behind is the position behind its last record, or where it has none, behind the last one before it.
func (s *segment) behind() Pos {
	if s.end == s.base {
		return s.first
	}
	return s.end
}

// use opens the file where it is not open, and keeps it so until the result is called.
func (s *segment) use(files Files) (release func(), err error) {
	for {
		s.using.RLock()
		if s.file != nil {
			return s.using.RUnlock, nil
		}
		s.using.RUnlock()
		if err := s.open(files); err != nil {
			return nil, err
		}
	}
}

var errGone = errors.New("segment is removed")

func (s *segment) open(files Files) error {
	s.using.Lock()
	defer s.using.Unlock()
	if s.gone != nil {
		return s.gone
	}
	if s.file != nil {
		return nil
	}
	f, err := files.Open(s.name, os.O_RDONLY)
	s.file = f
	return err
}

// close closes the file for good. Who reads from it meanwhile is waited for; who wants to later gets why.
func (s *segment) close(why error) error {
	s.using.Lock()
	defer s.using.Unlock()
	s.gone = why
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// scan reads the whole segment again and returns what is damaged in it and was not known. Afterwards it is indexed.
func (s *segment) scan(files Files) (news []stretch, err error) {
	release, err := s.use(files)
	if err != nil {
		return nil, err
	}
	defer release()
	end, used := s.extent()
	fresh := segment{header: s.header}
	sc := scanner{r: s.file, size: used}
	sp, err := sc.scan(headerBytes, s.base, true, end, func(off int64, f *frame) {
		if f.takesPosition() {
			fresh.note(f.pos, off)
		}
	})
	if err != nil {
		return nil, err
	}
	if sp.end < end { // what is missing at the end was there
		sp.bad = append(sp.bad, stretch{sp.used, used, sp.end, end})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range sp.bad {
		if !slices.ContainsFunc(s.bad, func(known stretch) bool { return known.from <= b.from && b.to <= known.to }) {
			news = append(news, b)
		}
	}
	if len(s.index) > len(fresh.index) { // appended meanwhile, or missing
		fresh.index = append(fresh.index, s.index[len(fresh.index):]...)
	}
	s.bad, s.index, s.indexed = sp.bad, fresh.index, true
	return news, nil
}

// errRescan: a record that was valid is damaged now.
var errRescan = errors.New("segment has become damaged")

// readBytes is how much is read at once where many records follow each other.
const readBytes = 256 << 10

// read calls visit with the records at the positions want, which rise; those that are not there are left out.
func (s *segment) read(files Files, want []Pos, visit func(*frame)) error {
	release, err := s.use(files)
	if err != nil {
		return err
	}
	defer release()
	for len(want) > 0 {
		n, from, to, bad, err := s.plan(want)
		if err != nil || n == 0 {
			return err
		}
		if err := s.readPart(from, to, bad, want[:n], visit); err != nil {
			return err
		}
		want = want[n:]
	}
	return nil
}

// plan says which bytes to read for the first n of want: as many as follow each other in the index, while that is not too much at once. n is 0 where
// all of want is missing at the segment's end.
func (s *segment) plan(want []Pos) (n int, from, to int64, bad []stretch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.indexed {
		return 0, 0, 0, nil, errRescan
	}
	slot := func(pos Pos) int { return int(pos-s.base) / stride }
	end := func(k int) int64 {
		if k+1 < len(s.index) {
			return s.index[k+1]
		}
		return s.used
	}
	first := slot(want[0])
	if first >= len(s.index) {
		return 0, 0, 0, nil, nil
	}
	last := first
	for n = 1; n < len(want); n++ {
		k := slot(want[n])
		if k > last+1 || k >= len(s.index) || k > last && end(k)-s.index[first] > readBytes {
			break
		}
		last = k
	}
	return n, s.index[first], end(last), s.bad, nil
}

// parts are buffers of readPart: what it reads is mostly not kept, or one record of it.
var parts = sync.Pool{New: func() any { return new([]byte) }}

// readPart calls visit with frames that are valid until it returns.
func (s *segment) readPart(off, to int64, bad []stretch, want []Pos, visit func(*frame)) error {
	buffer := parts.Get().(*[]byte)
	if size := int(to - off); cap(*buffer) < size {
		*buffer = make([]byte, max(size, readBytes))
	}
	b := (*buffer)[:to-off]
	if cap(*buffer) <= 2*readBytes { // one large record is no reason to keep so much
		defer parts.Put(buffer)
	}
	if n, err := s.file.ReadAt(b, off); n < len(b) {
		return err
	}
	for len(b) > 0 && len(want) > 0 {
		if i := slices.IndexFunc(bad, func(x stretch) bool { return x.from <= off && off < x.to }); i >= 0 {
			skip := min(bad[i].to-off, int64(len(b)))
			b, off = b[skip:], off+skip
			continue
		}
		if len(b) < recordFixed {
			return errRescan
		}
		n := recordLength(b)
		if n == 0 || n > int64(len(b)) {
			return errRescan
		}
		f, err := parseRecord(b[:n:n])
		if errors.Is(err, errDamaged) {
			return errRescan
		}
		if err != nil {
			return err
		}
		if f.takesPosition() {
			for len(want) > 0 && want[0] < f.pos { // missing
				want = want[1:]
			}
			if len(want) > 0 && want[0] == f.pos {
				if f.kind == kindEvent {
					visit(&f)
				}
				want = want[1:]
			}
		}
		b, off = b[n:], off+n
	}
	return nil
}

// label is how the segment is called in the log.
func (s *segment) label() string { return filepath.Base(s.name) }

package deadletter

import (
	"errors"
	"fmt"
	"os"
)

// Put keeps the letters. nil: all of them are durable. After an error some may be; to put all again adds only those that are not. Many letters cost
// little more than one: they share a write and a flush.
func (s *Store) Put(letters []Letter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.put(letters)
	s.failing = err != nil
	if err != nil {
		s.metrics.failures.Inc()
		err = fmt.Errorf("keep dead letters: %w", err)
	}
	for s.bytes > s.MaxBytes && len(s.files) > 1 {
		s.drop(s.files[0], droppedSize)
	}
	s.measure()
	return err
}

// group is what goes to the tail with one write.
type group struct {
	frames  []byte
	letters []*Letter
	in      []span // where in frames
}

func (s *Store) put(letters []Letter) error {
	if s.closed {
		return errClosed
	}
	s.expire()
	var g group
	for i := range letters {
		l := &letters[i]
		if f, _ := s.find(l.ID()); f != nil {
			continue // kept before a crash, or before the rest of its group failed
		}
		start := len(g.frames)
		frames, err := appendFrame(g.frames, l)
		if err != nil {
			return err
		}
		g.frames = frames
		if !s.fits(g.frames, l) {
			frame := append([]byte(nil), g.frames[start:]...)
			g.frames = g.frames[:start]
			if err := errors.Join(s.flush(&g), s.roll(l)); err != nil {
				return err
			}
			g = group{frames: frame}
			start = 0
		}
		g.letters, g.in = append(g.letters, l), append(g.in, span{int64(start), len(g.frames) - start})
	}
	return s.flush(&g)
}

// find is where the letter is; nil: it is not held.
func (s *Store) find(id ID) (*file, span) {
	for _, f := range s.files {
		if in, ok := f.held[id]; ok {
			return f, in
		}
	}
	return nil, span{}
}

// fits reports whether the frames, the last of which is l's, may go to the tail. A file takes at least one letter.
func (s *Store) fits(frames []byte, l *Letter) bool {
	if s.tail == nil {
		return false
	}
	f := s.files[len(s.files)-1]
	return f.size+int64(len(frames)) <= s.MaxBytes/filesOfSize && l.At.Time().Sub(f.first.Time()) < s.MaxAge/filesOfAge
}

// roll begins a new file, whose first letter is l.
func (s *Store) roll(l *Letter) error {
	s.closeTail()
	name := path(s.Dir, s.serial+1)
	tail, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := syncFolder(s.folder); err != nil {
		return errors.Join(err, tail.Close(), os.Remove(name))
	}
	s.serial++
	s.tail = tail
	s.files = append(s.files, &file{serial: s.serial, first: l.At, held: map[ID]span{}})
	return nil
}

// flush makes the group durable at the tail's end. After a failure nobody knows what of it is on disk, and flushing again would prove nothing:
// the file is cut where it was good, and the next letter begins a new one.
func (s *Store) flush(g *group) error {
	if len(g.letters) == 0 {
		return nil
	}
	f := s.files[len(s.files)-1]
	_, err := s.tail.WriteAt(g.frames, f.size)
	if err == nil {
		err = s.sync(s.tail)
	}
	if err != nil {
		_ = s.tail.Truncate(f.size) // what it may leave there is passed over at the next start
		s.closeTail()
		if len(f.held) == 0 {
			s.remove(f)
		}
		return err
	}
	for i, l := range g.letters {
		f.held[l.ID()] = span{f.size + g.in[i].at, g.in[i].size}
		s.metrics.put.WithLabelValues(l.Reason).Inc()
	}
	f.size += int64(len(g.frames))
	s.bytes += int64(len(g.frames))
	*g = group{}
	return nil
}

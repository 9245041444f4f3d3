package deadletter

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Log is what replaying needs of a [spool.Log].
type Log interface {
	AppendFor(sink string, e *event.Encoded) (spool.Pos, error)
	Sync() error
}

// Replay gives the letters back to the log, each for its sink alone and with the event's own id and key, in the order given, and removes them when
// they are durable there. A crash in between leaves a letter that was replayed: replayed again, it is stored again under the same id. Letters
// that are not held are left out. After an error n letters are replayed and removed; the others are as they were.
//
// The order among newer events of the same key is not kept: these have been delivered.
func (s *Store) Replay(ids []ID, log Log) (n int, err error) {
	s.taking.Lock()
	defer s.taking.Unlock()
	var given []ID
	for _, id := range ids {
		var l *Letter
		if l, err = s.letter(id); err != nil {
			break
		}
		if l == nil {
			continue
		}
		if _, err = log.AppendFor(l.Sink, &event.Encoded{Header: l.Record.Header, Data: l.Record.Data}); err != nil {
			err = fmt.Errorf("replay %v: %w", id, err)
			break
		}
		given = append(given, id)
	}
	if len(given) == 0 {
		return 0, err
	}
	if syncErr := log.Sync(); syncErr != nil {
		return 0, errors.Join(err, fmt.Errorf("replay: the spool: %w", syncErr))
	}
	n, removeErr := s.discard(given)
	s.metrics.replayed.Add(float64(n))
	return n, errors.Join(err, removeErr)
}

// Purge throws the letters away; those that are not held are left out. It returns how many it were.
func (s *Store) Purge(ids []ID) (n int, err error) {
	s.taking.Lock()
	defer s.taking.Unlock()
	n, err = s.discard(ids)
	s.metrics.purged.Add(float64(n))
	return n, err
}

// letter reads one from its file; nil: it is not held, or damaged, which is told.
func (s *Store) letter(id ID) (*Letter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	f, in := s.find(id)
	if f == nil {
		return nil, nil
	}
	content, err := os.Open(path(s.Dir, f.serial))
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }() // only read
	frame := make([]byte, in.size)
	if _, err := content.ReadAt(frame, in.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if l, _, _, err := parseFrame(frame); err == nil {
		return l, nil
	}
	delete(f.held, id)
	s.lost(droppedCorrupt, 1)
	s.Log.Error("a dead letter is damaged and cannot be read", zap.Stringer("letter", id), zap.String("file", path(s.Dir, f.serial)))
	s.measure()
	return nil, nil
}

// discard marks the letters as removed, and deletes files that hold no others.
func (s *Store) discard(ids []ID) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	byFile := map[*file][]ID{}
	for _, id := range ids {
		if f, _ := s.find(id); f != nil {
			byFile[f] = append(byFile[f], id)
		}
	}
	for f, ids := range byFile {
		before := len(f.held)
		if err := s.mark(f, ids); err != nil {
			return n, fmt.Errorf("remove dead letters: %w", err)
		}
		n += before - len(f.held)
		if len(f.held) == 0 {
			s.remove(f)
		}
	}
	s.measure()
	return n, nil
}

// mark overwrites the letters' state on disk.
func (s *Store) mark(f *file, ids []ID) error {
	out, err := os.OpenFile(path(s.Dir, f.serial), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, id := range ids {
		_, writeErr := out.WriteAt([]byte{stateRemoved}, f.held[id].at+int64(stateAt))
		err = errors.Join(err, writeErr)
	}
	if err = errors.Join(err, s.sync(out), out.Close()); err != nil {
		return err
	}
	for _, id := range ids {
		delete(f.held, id)
	}
	return nil
}

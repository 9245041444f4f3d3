package deadletter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Options are the store's settings; zero values take the defaults named here.
//
// When a bound is reached, the oldest letters go, a whole file at a time: one file holds at most a 32nd of MaxBytes and what was set aside within
// a 30th of MaxAge. So no letter becomes older than MaxAge, and the newest are never the ones to go.
type Options struct {
	// Dir is the store's folder; it is made where it does not exist. Required.
	Dir string
	// MaxBytes bounds what the files take, in bytes; default 256 MiB, at least 1 MiB. It is passed by at most one file, and by a single letter that
	// is larger.
	MaxBytes int64
	// MaxAge is how long a letter is kept; default 30 d.
	MaxAge time.Duration
	// Now is the clock for ages; default time.Now.
	Now func() time.Time
	// Log is told of what is lost; default: nobody.
	Log *zap.Logger
	// Registerer gets the store's series; default: nobody.
	Registerer prometheus.Registerer

	sync func(*os.File) error // of a file; tests let it fail
}

const (
	defaultBytes = 256 << 20
	leastBytes   = 1 << 20
	defaultAge   = 30 * 24 * time.Hour
	filesOfSize  = 32 // files that MaxBytes allows for
	filesOfAge   = 30 // files that MaxAge allows for
)

// ErrLocked says that another process, most often a bridge that runs, has the store open.
var ErrLocked = errors.New("another process has the dead letters open")

var errClosed = errors.New("the store of dead letters is closed")

// Store is the store, open for writing by this process alone. Safe for concurrent use.
type Store struct {
	Options
	metrics *metrics
	folder  *os.File // locked

	taking sync.Mutex // one replay or purge at a time

	mu      sync.Mutex
	files   []*file  // oldest first
	tail    *os.File // of the last of files; nil: the next letter begins a new one
	serial  uint64   // of the newest file ever made
	bytes   int64
	dropped int // since Open
	failing bool
	closed  bool
}

// file is what is known of one file.
type file struct {
	serial uint64
	size   int64         // up to here it is durable
	first  event.Instant // when its first letter was set aside
	held   map[ID]span   // the letters that were not removed
}

// Open opens the store in o.Dir, or makes it. Damage never keeps it from opening: a torn end of the newest file, which no Put has confirmed, is cut,
// and letters that cannot be read are counted and told to the log. Errors: [ErrLocked], and those of the file system.
func Open(o Options) (*Store, error) {
	s := &Store{Options: o}
	s.setDefaults()
	s.metrics = newMetrics(o.Registerer)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	folder, err := os.Open(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	s.folder = folder
	err = lock(folder)
	if err == nil {
		err = syncParent(o.Dir)
	}
	if err == nil {
		err = s.load()
	}
	if err != nil {
		_ = folder.Close()
		return nil, fmt.Errorf("dead letters in %s: %w", o.Dir, err)
	}
	s.expire()
	s.measure()
	return s, nil
}

func (s *Store) setDefaults() {
	if s.MaxBytes <= 0 {
		s.MaxBytes = defaultBytes
	}
	s.MaxBytes = max(s.MaxBytes, leastBytes)
	if s.MaxAge <= 0 {
		s.MaxAge = defaultAge
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Log == nil {
		s.Log = zap.NewNop()
	}
	if s.sync == nil {
		s.sync = (*os.File).Sync
	}
}

// syncParent makes the folder's own name durable.
func syncParent(dir string) error {
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(syncFolder(parent), parent.Close())
}

// load reads every file. New letters go on in the newest one.
func (s *Store) load() error {
	all, err := serials(s.Dir)
	if err != nil {
		return err
	}
	seen := map[ID]bool{}
	for i, n := range all {
		s.serial = n
		content, err := os.ReadFile(path(s.Dir, n))
		if err != nil {
			return err
		}
		f := &file{serial: n, held: map[ID]span{}}
		end, corrupt, _ := scan(content, func(l *Letter, gone bool, in span) error {
			if f.first == 0 {
				f.first = l.At
			}
			if id := l.ID(); !gone && !seen[id] {
				seen[id] = true
				f.held[id] = in
			}
			return nil
		})
		f.size = end
		damaged := int64(len(content)) - end
		last := i == len(all)-1
		if last && damaged > 0 {
			if err := s.cut(f); err != nil {
				return err
			}
			s.Log.Warn("the end of the dead letters was torn and is cut: no event was confirmed as kept there",
				zap.String("file", path(s.Dir, n)), zap.Int64("bytes", damaged))
		} else if damaged > 0 {
			f.size += damaged
			corrupt++
		}
		if corrupt > 0 {
			s.lost(droppedCorrupt, corrupt)
			s.Log.Error("dead letters are damaged and cannot be read", zap.String("file", path(s.Dir, n)), zap.Int("letters", corrupt))
		}
		s.files = append(s.files, f)
		s.bytes += f.size
		switch {
		case len(f.held) == 0 && corrupt == 0:
			s.remove(f)
		case f.first == 0: // nothing in it can be read; kept for whoever wants to try, as long as letters are
			f.first = event.InstantOf(s.Now())
		case last:
			if s.tail, err = os.OpenFile(path(s.Dir, n), os.O_RDWR, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut ends the file where it is good.
func (s *Store) cut(f *file) error {
	out, err := os.OpenFile(path(s.Dir, f.serial), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(out.Truncate(f.size), s.sync(out), out.Close())
}

// expire drops the files whose first letter has become too old. Called with mu held, or before there is anybody else.
func (s *Store) expire() {
	now := s.Now()
	for _, f := range slices.Clone(s.files) {
		if now.Sub(f.first.Time()) >= s.MaxAge {
			s.drop(f, droppedAge)
		}
	}
}

// drop gives up what the file still holds.
func (s *Store) drop(f *file, reason string) {
	if n := len(f.held); n > 0 {
		s.lost(reason, n)
		s.Log.Error("dead letters are dropped", zap.String("reason", reason), zap.Int("letters", n), zap.Stringer("set_aside_since", f.first))
	}
	s.remove(f)
}

func (s *Store) lost(reason string, n int) {
	s.dropped += n
	s.metrics.dropped.WithLabelValues(reason).Add(float64(n))
}

// remove deletes the file. Should its name come back after a power loss, what it held is marked as removed, or dropped again.
func (s *Store) remove(f *file) {
	for i, other := range s.files {
		if other != f {
			continue
		}
		if i == len(s.files)-1 {
			s.closeTail()
		}
		s.files = append(s.files[:i:i], s.files[i+1:]...)
		s.bytes -= f.size
		if err := os.Remove(path(s.Dir, f.serial)); err != nil {
			s.Log.Error("a file of dead letters cannot be deleted", zap.Error(err))
		}
		return
	}
}

func (s *Store) closeTail() {
	if s.tail != nil {
		_ = s.tail.Close() // all of it was flushed
		s.tail = nil
	}
}

// Run lets letters go when they become too old, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			s.expire()
			s.measure()
			s.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// Status is what the store says of itself.
type Status struct {
	Held    int
	Dropped int  // lost since Open: too old, pushed out, damaged
	Failing bool // the last Put failed
}

// Status counts as of now.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Held: s.count(), Dropped: s.dropped, Failing: s.failing}
}

func (s *Store) count() (n int) {
	for _, f := range s.files {
		n += len(f.held)
	}
	return n
}

// measure is called with mu held whenever something has changed.
func (s *Store) measure() {
	s.metrics.held.Set(float64(s.count()))
	s.metrics.bytes.Set(float64(s.bytes))
}

// Close ends the store; what was put is durable already. A replay that is under way keeps its letters: it does not wait for the replay's log.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.closeTail()
	return s.folder.Close()
}

package spool

import (
	"fmt"
	"sync"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// group is what is written at once. Its bytes are in pieces of arenas that neighbouring groups share.
type group struct {
	from    Pos // the position of its first record
	records []Record
	offsets []uint32       // of each record in the group
	targets map[Pos]string // the records that are for one sink alone
	pieces  [][]byte
	bytes   int64
	entries uint64 // records and alive records
	alive   time.Time
	settled chan struct{} // closed when the group is durable, or the disk fails; nil: nobody waits
}

// end is the position behind the group's last record.
func (g *group) end() Pos { return g.from + Pos(len(g.records)) }

// stage takes what is appended until the writer takes it from there: one encoding and one copy under one mutex.
type stage struct {
	wake    chan struct{} // there is something
	hurry   chan struct{} // somebody waits for the open group to be taken
	closing chan struct{}
	closed  chan struct{} // the writer has ended; closeErr is set

	mu        sync.Mutex
	max       int64 // Options.MaxBytes, or what the disk has
	normal    int64 // what Class Normal may use of it
	capacity  int64 // of one group
	next      Pos
	last      Pos // behind the last record that was appended; below next where this process has not appended any
	open      *group
	taken     *group // by the writer, and not durable
	arena     []byte
	begun     int       // where the open group's piece in arena begins
	likely    int       // records in the next group, as in the last
	staged    int64     // bytes appended and not durable
	used      int64     // bytes of the segments
	appended  uint64    // entries appended, and how many of them are durable
	committed uint64    //
	alive     time.Time // the newest that was appended
	refused   bool      // for want of room, since there was room
	stalled   uint64    // until that many entries are durable: the disk is too slow
	failing   error     // what Append answers while the disk fails
	word      string    // failing in one word
	ending    bool
	closeErr  error
	moved     chan struct{} // closed when there may be room in the stage again; nil: nobody waits
}

const (
	arenaBytes = 1 << 20
	patience   = time.Second // of Append with a disk that takes nothing
)

func (s *stage) reserve(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.normal = s.max - min(bytes, s.max/2)
}

func (s *stage) append(c Class, target string, e *event.Encoded) (Pos, error) {
	key := Hash(e.Header.PartitionKey)
	bound := int64(recordBound(target, &e.Header, len(e.Data)))

	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(c, bound); err != nil {
		return 0, err
	}
	g := s.room(int(bound))
	pos, start := s.next, len(s.arena)
	s.arena = appendRecord(s.arena, pos, int(g.bytes), key, target, &e.Header, e.Data)
	end := len(s.arena)
	s.next++
	s.last = s.next
	g.offsets = append(g.offsets, uint32(g.bytes))
	g.records = append(g.records, Record{Pos: pos, Key: key, Header: e.Header, Data: s.arena[end-len(e.Data) : end : end]})
	if target != "" {
		if g.targets == nil {
			g.targets = map[Pos]string{}
		}
		g.targets[pos] = target
	}
	s.grown(int64(end - start))
	return pos, nil
}

// Alive implements [Log].
func (s *stage) Alive(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(Reserve, aliveSize); err != nil {
		return err
	}
	g := s.room(aliveSize)
	s.arena = appendAlive(s.arena, s.next, int(g.bytes), t)
	g.alive, s.alive = t, t
	s.grown(aliveSize)
	return nil
}

// admit says whether bytes more may be appended. It waits for room in the stage, letting go of mu.
func (s *stage) admit(c Class, bytes int64) error {
	var (
		timeout *time.Timer
		seen    uint64 // committed when the timer began: where many wait for their turn, the last of them wait for longer than the disk takes
	)
	for {
		switch held := s.used + s.staged; {
		case s.ending:
			return ErrClosed
		case s.failing != nil:
			return s.failing
		case s.stalled > s.committed:
			return ErrStalled
		case bytes > s.capacity:
			return fmt.Errorf("%w: one record of %d bytes is more than the %d that can be written at once", ErrFull, bytes, s.capacity)
		case c == Normal && held+bytes > s.normal, held+bytes > s.max:
			s.refused = true
			return ErrFull
		case s.open == nil || s.open.bytes+bytes <= s.capacity:
			return nil
		}
		if timeout == nil {
			timeout, seen = time.NewTimer(patience), s.committed
			defer timeout.Stop()
		}
		moved := s.movement()
		s.hasten()
		s.mu.Unlock()
		select {
		case <-moved:
			s.mu.Lock()
		case <-timeout.C:
			s.mu.Lock()
			if s.open != nil && s.open.bytes+bytes > s.capacity && s.stalled <= s.committed && s.committed == seen {
				s.stalled = s.appended
			}
			timeout.Reset(patience)
			seen = s.committed
		}
	}
}

// room returns the open group with n bytes free in the arena.
func (s *stage) room(n int) *group {
	if s.open == nil {
		s.open = &group{from: s.next, records: make([]Record, 0, max(s.likely, 1)), offsets: make([]uint32, 0, max(s.likely, 1))}
		s.begun = len(s.arena)
	}
	if cap(s.arena)-len(s.arena) < n {
		s.cutPiece()
		s.arena, s.begun = make([]byte, 0, max(arenaBytes, n)), 0
	}
	return s.open
}

// cutPiece gives the open group what it has in the arena. What others append to the arena behind that does not touch it.
func (s *stage) cutPiece() {
	if end := len(s.arena); end > s.begun {
		s.open.pieces = append(s.open.pieces, s.arena[s.begun:end:end])
		s.begun = end
	}
}

func (s *stage) grown(n int64) {
	s.open.bytes += n
	s.open.entries++
	s.staged += n
	s.appended++
	if s.open.entries == 1 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// take is the writer's: it returns what was appended; nil: nothing.
func (s *stage) take() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.open
	if g == nil {
		return nil
	}
	s.cutPiece()
	s.open, s.taken, s.likely = nil, g, len(g.records)
	select {
	case <-s.hurry: // was for g
	default:
	}
	s.move()
	return g
}

// settle is the writer's: g is durable.
func (s *stage) settle(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged -= g.bytes
	s.used += g.bytes
	s.committed += g.entries
	s.failing, s.word = nil, ""
	s.taken = nil
	g.wakeAll()
}

// occupy says that the segments take bytes more.
func (s *stage) occupy(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used += bytes
}

// fail is the writer's: the disk does not take what was appended. It reports whether that, or the word for it, is new.
func (s *stage) fail(err error, word string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.word != word
	s.failing, s.word = err, word
	s.move()
	s.taken.wakeAll()
	if s.open != nil {
		s.open.wakeAll()
	}
	return news
}

// hasten is for those who wait until the writer takes the open group. It is called with mu held, so that take ends the hurry of all of them.
func (s *stage) hasten() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// movement is closed at the next move. It is called with mu held.
func (s *stage) movement() <-chan struct{} {
	if s.moved == nil {
		s.moved = make(chan struct{})
	}
	return s.moved
}

// move wakes those who wait for room. It is called with mu held.
func (s *stage) move() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// wait is closed when the group is settled. It is called with mu held, like wakeAll.
func (g *group) wait() <-chan struct{} {
	if g.settled == nil {
		g.settled = make(chan struct{})
	}
	return g.settled
}

func (g *group) wakeAll() {
	if g.settled != nil {
		close(g.settled)
		g.settled = nil
	}
}

// Sync waits until everything that was appended before is durable. It does not wait for a disk that fails, and returns Append's error then.
func (s *stage) Sync() error {
	s.mu.Lock()
	target := s.appended
	s.mu.Unlock()
	return s.await(target)
}

// await returns when that many entries are durable.
func (s *stage) await(entries uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.committed < entries {
		if s.failing != nil {
			return s.failing
		}
		if s.closeErr != nil {
			return s.closeErr
		}
		g := s.taken
		if g == nil || s.committed+g.entries < entries {
			g = s.open
		}
		if g == s.open {
			s.hasten()
		}
		settled := g.wait()
		s.mu.Unlock()
		select {
		case <-settled:
		case <-s.closed:
		}
		s.mu.Lock()
	}
	return nil
}

// Room implements [Log].
func (s *stage) Room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !crowded(s.used+s.staged, s.normal) {
		s.refused = false
	}
	return !s.refused && s.failing == nil && s.stalled <= s.committed
}

// crowded reports whether less than an eighth is left of what Class Normal may use.
func crowded(used, normal int64) bool { return used > normal-normal/8 }

// over reports whether the log is closed, or about to be.
func (s *stage) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

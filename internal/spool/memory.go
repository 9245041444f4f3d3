package spool

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// MemoryOptions bound a [Memory]; the zero value takes the defaults named here.
type MemoryOptions struct {
	// Bytes bounds what the log holds, counted by [Record.Size]; default 256 MiB.
	Bytes int64
	// Reserve is the part of Bytes that only Class Reserve may use; default 1 MiB, at most half of Bytes.
	Reserve int64
	// Now is the clock of Epoch and of [Cursor.Pending]; default time.Now.
	Now func() time.Time
}

// Memory is a Log in memory. A record is freed, and counts no more against the bound, as soon as the last cursor is done with it,
// however old or young its neighbours are: one stuck lane holds its own records and nothing else. That is why the records are in a
// map and not in chunks. A log without any cursor holds nothing: an Append to it succeeds and is forgotten.
type Memory struct {
	bound int64
	now   func() time.Time
	epoch int64

	mu      sync.Mutex
	normal  int64 // what Class Normal may use of bound
	records map[Pos]*entry
	next    Pos
	size    int64
	refused bool // an Append since there was room
	closed  bool
	cursors []*memoryCursor
}

// entry is a record and who still needs it.
type entry struct {
	Record
	appended event.Instant
	open     uint64 // a bit per cursor that is not done with it
}

var _ Log = (*Memory)(nil)

const (
	defaultBytes   = 256 << 20
	defaultReserve = 1 << 20
	maxCursors     = 64 // bits of entry.open
)

// NewMemory makes an empty log.
func NewMemory(o MemoryOptions) *Memory {
	if o.Bytes <= 0 {
		o.Bytes = defaultBytes
	}
	if o.Reserve <= 0 {
		o.Reserve = defaultReserve
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Memory{bound: o.Bytes, now: o.Now, epoch: o.Now().Unix(), records: map[Pos]*entry{}, next: 1}
	m.Reserve(o.Reserve)
	return m
}

// Reserve implements Log.
func (m *Memory) Reserve(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.normal = m.bound - min(bytes, m.bound/2)
}

// Cursor implements Log. At most 64 cursors, each name once.
func (m *Memory) Cursor(sink string, _ CursorOptions) (Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next != 1 {
		return nil, fmt.Errorf("cursor %q: made after the first Append, it would miss records", sink)
	}
	if len(m.cursors) == maxCursors {
		return nil, fmt.Errorf("cursor %q: a log has at most %d cursors", sink, maxCursors)
	}
	for _, c := range m.cursors {
		if c.sink == sink {
			return nil, fmt.Errorf("cursor %q: exists already", sink)
		}
	}
	c := &memoryCursor{log: m, sink: sink, bit: 1 << len(m.cursors), next: 1, oldest: 1, ready: make(chan struct{}, 1)}
	m.cursors = append(m.cursors, c)
	return c, nil
}

// Append implements Log.
func (m *Memory) Append(c Class, e *event.Encoded) (Pos, error) {
	one := &entry{
		Record:   Record{Epoch: m.epoch, Key: Hash(e.Header.PartitionKey), Header: e.Header},
		appended: event.InstantOf(m.now()),
	}
	one.Data = append(make([]byte, 0, len(e.Data)), e.Data...)
	size := int64(one.Size())

	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return 0, ErrClosed
	case c == Normal && m.size+size > m.normal:
		m.refused = true
		return 0, ErrFull
	case m.size+size > m.bound:
		m.refused = true // a session that cannot even be announced should not be tried again at once
		return 0, ErrFull
	}
	one.Pos = m.next
	m.next++
	if len(m.cursors) == 0 {
		return one.Pos, nil
	}
	one.open = 1<<len(m.cursors) - 1
	m.records[one.Pos] = one
	m.size += size
	for _, c := range m.cursors {
		c.held++
		c.bytes += size
		c.signal()
	}
	return one.Pos, nil
}

// AppendFor implements Log.
func (m *Memory) AppendFor(_ string, e *event.Encoded) (Pos, error) { return m.Append(Normal, e) }

// Recover implements Log.
func (m *Memory) Recover(func(io.Reader) error, func(*Record)) (time.Time, error) { return time.Time{}, nil }

// Alive implements Log.
func (m *Memory) Alive(time.Time) error { return nil }

// Checkpoint implements Log.
func (m *Memory) Checkpoint(save func(io.Writer) error) error { return save(io.Discard) }

// Skip implements Log.
func (m *Memory) Skip(func([]Skipped) error) error { return nil }

// Room implements Log.
func (m *Memory) Room() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size <= m.normal-m.normal/8 {
		m.refused = false
	}
	return !m.refused
}

// Used is what the log holds, in bytes, counted by [Record.Size].
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size
}

// Close implements Log.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// memoryCursor is a cursor of a Memory; the log's mutex guards it.
type memoryCursor struct {
	log    *Memory
	sink   string
	bit    uint64
	ready  chan struct{}
	next   Pos // the first that Next has not returned
	oldest Pos // nothing below is open for this cursor
	held   int
	bytes  int64
	mark   []byte
}

// signal is called with the log's mutex held. The channel holds one signal, which stands for all of them: whoever takes it
// looks after everything appended before.
func (c *memoryCursor) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// Ready implements Cursor.
func (c *memoryCursor) Ready() <-chan struct{} { return c.ready }

// Next implements Cursor. It signals Ready again when limit left something behind.
func (c *memoryCursor) Next(limit int) ([]Record, error) {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	n := min(limit, int(m.next-c.next))
	if n <= 0 {
		return nil, nil
	}
	records := make([]Record, n)
	for i := range records {
		records[i] = m.records[c.next].Record
		c.next++
	}
	if c.next < m.next {
		c.signal()
	}
	return records, nil
}

// Read implements Cursor.
func (c *memoryCursor) Read(p []Pos) ([]Record, error) {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	records := make([]Record, len(p))
	for i, pos := range p {
		e := m.records[pos]
		if pos >= c.next || e == nil || e.open&c.bit == 0 {
			return nil, fmt.Errorf("read position %d: %w", pos, errNotOpen)
		}
		records[i] = e.Record
	}
	return records, nil
}

var errNotOpen = errors.New("not handed out or already done")

// Replaying implements Cursor.
func (c *memoryCursor) Replaying() bool { return false }

// Mark implements Cursor.
func (c *memoryCursor) Mark() []byte { return c.mark }

// Save implements Cursor.
func (c *memoryCursor) Save(mark []byte) error {
	c.mark = mark
	return nil
}

// Done implements Cursor. A position that is not open for this cursor panics: counting on would free what another sink still needs.
func (c *memoryCursor) Done(pos Pos) {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.records[pos]
	if pos >= c.next || e == nil || e.open&c.bit == 0 {
		panic(fmt.Sprintf("spool: cursor %q: done with position %d: %v", c.sink, pos, errNotOpen))
	}
	size := int64(e.Size())
	e.open &^= c.bit
	c.held--
	c.bytes -= size
	if e.open == 0 {
		delete(m.records, pos)
		m.size -= size
	}
}

// Pending implements Cursor.
func (c *memoryCursor) Pending() (records int, bytes int64, oldest event.Instant) {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; c.oldest < m.next; c.oldest++ {
		if e := m.records[c.oldest]; e != nil && e.open&c.bit != 0 {
			return c.held, c.bytes, e.appended
		}
	}
	return 0, 0, 0
}

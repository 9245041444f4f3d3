package spool

import (
	"bytes"
	"fmt"
	"io"
	"slices"
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
	// Manual makes a log that can [Memory.Crash]: what was appended is durable, and given to cursors, only after [Memory.Commit], and a record is held
	// until what every cursor has saved and a checkpoint are past it. Without it everything is durable at once, and nothing is kept for a crash.
	Manual bool
	// SaveAhead and CheckpointAhead are mistakes that a log could make, for negative controls of tests: a Save that counts as done what Next has
	// returned, and a checkpoint that counts before what it tells of is durable.
	SaveAhead, CheckpointAhead bool
}

// Memory is a Log in memory. A record is freed, and counts no more against the bound, as soon as nobody needs it, however old or young its
// neighbours are: one stuck lane holds its own records and nothing else. That is why the records are in a map and not in chunks. It never skips.
type Memory struct {
	MemoryOptions
	epoch int64

	mu      sync.Mutex
	normal  int64 // what Class Normal may use of Bytes
	records map[Pos]*entry
	first   Pos // no record is held below
	durable Pos // every record below is durable
	next    Pos
	alives  []aliveNote // in log order: the newest durable one, and those after it
	size    int64
	refused bool // an Append since there was room
	began   bool // Recover or Append was called
	closed  bool
	cursors []*memoryCursor

	saved, saving *memoryCheckpoint // the one that counts; the one that waits until what it tells of is durable
}

// entry is a record and who still needs it.
type entry struct {
	Record
	appended event.Instant
	alone    bool   // for one cursor: the views know it since it was first appended
	open     uint64 // a bit per cursor that is not done with it
	unsaved  uint64 // a bit per cursor that has not saved that it is done with it; only of a log that can crash
}

// aliveNote is what Alive was told, and the position of the record that came next.
type aliveNote struct {
	before Pos
	t      time.Time
}

type memoryCheckpoint struct {
	noted, end Pos // next when save began and when it had ended
	views      []byte
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
	m := &Memory{MemoryOptions: o, epoch: o.Now().Unix(), records: map[Pos]*entry{}, first: 1, durable: 1, next: 1}
	m.Reserve(o.Reserve)
	return m
}

// Reserve implements Log.
func (m *Memory) Reserve(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.normal = m.Bytes - min(bytes, m.Bytes/2)
}

// Cursor implements Log. At most 64 cursors, each name once.
func (m *Memory) Cursor(sink string, o CursorOptions) (Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began {
		return nil, fmt.Errorf("cursor %q: made after Recover or the first Append", sink)
	}
	c := m.cursor(sink)
	switch {
	case c != nil && c.opened:
		return nil, fmt.Errorf("cursor %q: exists already", sink)
	case c == nil && len(m.cursors) == maxCursors:
		return nil, fmt.Errorf("cursor %q: a log has at most %d cursors", sink, maxCursors)
	case c == nil:
		c = &memoryCursor{log: m, sink: sink, bit: 1 << len(m.cursors)}
		m.cursors = append(m.cursors, c)
		for _, e := range m.held() {
			if !o.Now {
				c.hold(e)
			}
		}
	}
	c.opened, c.keep, c.ready = true, o.Keep, make(chan struct{}, 1)
	c.next, c.oldest, c.replay = m.first, m.first, m.durable
	for _, e := range m.held() {
		if e.open&c.bit != 0 && !c.wants(&e.Header) {
			c.drop(e)
			e.unsaved &^= c.bit
			m.free(e)
		}
	}
	c.signal()
	return c, nil
}

func (m *Memory) cursor(sink string) *memoryCursor {
	for _, c := range m.cursors {
		if c.sink == sink {
			return c
		}
	}
	return nil
}

// held lists in log order the entries of the log.
func (m *Memory) held() []*entry {
	all := make([]*entry, 0, len(m.records))
	for pos := m.first; pos < m.next; pos++ {
		if e := m.records[pos]; e != nil {
			all = append(all, e)
		}
	}
	return all
}

// Append implements Log.
func (m *Memory) Append(c Class, e *event.Encoded) (Pos, error) {
	return m.add(c, e, nil)
}

// AppendFor implements Log.
func (m *Memory) AppendFor(sink string, e *event.Encoded) (Pos, error) {
	m.mu.Lock()
	c := m.cursor(sink)
	m.mu.Unlock()
	if c == nil {
		return 0, fmt.Errorf("append for %q: no such cursor", sink)
	}
	return m.add(Normal, e, c)
}

// add appends for one cursor alone, or for all that want the record.
func (m *Memory) add(c Class, e *event.Encoded, alone *memoryCursor) (Pos, error) {
	one := &entry{
		alone:    alone != nil,
		Record:   Record{Epoch: m.epoch, Key: Hash(e.Header.PartitionKey), Header: e.Header},
		appended: event.InstantOf(m.Now()),
	}
	one.Data = append(make([]byte, 0, len(e.Data)), e.Data...)
	size := int64(one.Size())

	m.mu.Lock()
	defer m.mu.Unlock()
	m.began = true
	switch {
	case m.closed:
		return 0, ErrClosed
	case c == Normal && m.size+size > m.normal:
		m.refused = true
		return 0, ErrFull
	case m.size+size > m.Bytes:
		m.refused = true // a session that cannot even be announced should not be tried again at once
		return 0, ErrFull
	}
	one.Pos = m.next
	m.next++
	m.records[one.Pos] = one
	m.size += size
	for _, c := range m.cursors {
		if c == alone || alone == nil && c.wants(&one.Header) {
			c.hold(one)
		}
	}
	if !m.Manual {
		m.commit(m.next)
		m.free(one)
	}
	return one.Pos, nil
}

// Sync implements Log.
func (m *Memory) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.commit(m.next)
	return nil
}

// Alive implements Log.
func (m *Memory) Alive(t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.began = true
	if m.closed {
		return ErrClosed
	}
	m.alives = append(m.alives, aliveNote{m.next, t})
	if !m.Manual {
		m.commit(m.next)
	}
	return nil
}

// Ends returns the position below which everything is durable, and the position of the next record to be appended.
func (m *Memory) Ends() (durable, next Pos) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.durable, m.next
}

// Commit makes durable what was appended below end.
func (m *Memory) Commit(end Pos) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commit(min(end, m.next))
}

func (m *Memory) commit(end Pos) {
	if end > m.durable {
		m.durable = end
		for _, c := range m.cursors {
			c.signal()
		}
	}
	if newest := m.newestAlive(); newest > 0 {
		m.alives = slices.Delete(m.alives, 0, newest)
	}
	if m.saving != nil && (m.saving.end <= m.durable || m.CheckpointAhead) {
		m.saved, m.saving = m.saving, nil
		m.sweep()
	}
}

// newestAlive is the index of the last note that is durable, -1 when there is none.
func (m *Memory) newestAlive() int {
	newest := -1
	for i, a := range m.alives {
		if a.before <= m.durable {
			newest = i
		}
	}
	return newest
}

// Crash returns the log that the next process finds: records and alive notes below end, as of the last Save and checkpoint. What was not durable may have reached
// the disk, so end is at least the durable end; below that it is a disk that had not kept what it said. m must not be used any more.
func (m *Memory) Crash(end Pos) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := NewMemory(m.MemoryOptions)
	n.epoch, n.normal, n.saved = m.epoch, m.normal, m.saved
	n.first, n.durable = m.first, min(end, m.next)
	if s := m.saved; s != nil && s.end > n.durable && !m.CheckpointAhead {
		n.saved = nil // it tells of what is not in the log
	}
	n.next = n.durable
	if m.saved != nil {
		n.next = max(n.next, m.saved.end)
	}
	for _, c := range m.cursors {
		n.cursors = append(n.cursors, &memoryCursor{log: n, sink: c.sink, bit: c.bit, mark: c.mark, highest: c.highest})
		n.next = max(n.next, c.highest+1)
	}
	for _, a := range m.alives {
		if a.before <= n.durable {
			n.alives = []aliveNote{a}
		}
	}
	for _, e := range m.held() {
		if e.Pos >= n.durable {
			break
		}
		kept := &entry{Record: e.Record, appended: e.appended, alone: e.alone}
		n.records[e.Pos] = kept
		n.size += int64(kept.Size())
		for _, c := range n.cursors {
			if e.unsaved&c.bit != 0 {
				c.hold(kept)
			}
		}
	}
	n.durable = n.next
	return n
}

// Recover implements Log.
func (m *Memory) Recover(load func(io.Reader) error, fold func(*Record)) (alive time.Time, err error) {
	m.mu.Lock()
	m.began = true
	from := m.first
	if len(m.alives) > 0 {
		alive = m.alives[len(m.alives)-1].t
	}
	saved, held := m.saved, m.held()
	m.mu.Unlock()
	if saved != nil {
		if load(bytes.NewReader(saved.views)) == nil {
			from = saved.noted
		} else {
			m.mu.Lock()
			m.saved = nil // unusable for every process after this one, too
			m.mu.Unlock()
		}
	}
	for _, e := range held {
		if e.Pos >= from && !e.alone {
			fold(&e.Record)
		}
	}
	return alive, nil
}

// Checkpoint implements Log. It does not wait: Commit makes the checkpoint count.
func (m *Memory) Checkpoint(save func(io.Writer) error) error {
	_, noted := m.Ends()
	var views bytes.Buffer
	if err := save(&views); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Manual {
		m.saving = &memoryCheckpoint{noted: noted, end: m.next, views: views.Bytes()}
		m.commit(m.durable)
	}
	return nil
}

// Overdue implements Log.
func (m *Memory) Overdue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.Manual {
		return false
	}
	var stale int64
	for _, e := range m.records {
		if e.open == 0 && e.unsaved == 0 {
			stale += int64(e.Size())
		}
	}
	return overdue(stale, m.normal) || stale > 0 && crowded(m.size, m.normal)
}

// Skip implements Log.
func (m *Memory) Skip(func([]Skipped) error) error { return nil }

// Room implements Log.
func (m *Memory) Room() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !crowded(m.size, m.normal) {
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
	m.commit(m.next)
	m.closed = true
	return nil
}

// free forgets e where nobody needs it any more. It is called with the mutex held.
func (m *Memory) free(e *entry) {
	needed := e.open != 0
	if m.Manual {
		needed = e.unsaved != 0 || m.saved == nil || e.Pos >= m.saved.noted
	}
	if needed || m.records[e.Pos] == nil {
		return
	}
	delete(m.records, e.Pos)
	m.size -= int64(e.Size())
	for m.first < m.durable && m.records[m.first] == nil {
		m.first++
	}
}

// sweep frees what a checkpoint or a Save has made needless.
func (m *Memory) sweep() {
	for _, e := range m.held() {
		m.free(e)
	}
}

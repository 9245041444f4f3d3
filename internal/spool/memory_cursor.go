package spool

import (
	"fmt"

	"github.com/taskbridge/taskbridge/internal/event"
)

// memoryCursor is a cursor of a Memory; the log's mutex guards it.
type memoryCursor struct {
	log     *Memory
	sink    string
	bit     uint64
	opened  bool // in this process
	keep    func(*event.Header) bool
	ready   chan struct{}
	next    Pos // the first that Next has not returned
	oldest  Pos // nothing below is open for this cursor
	replay  Pos // what the log held when the cursor was opened is below
	highest Pos // saved as done
	held    int
	bytes   int64
	mark    []byte
}

func (c *memoryCursor) wants(h *event.Header) bool { return c.keep == nil || c.keep(h) }

// hold makes e open for the cursor.
func (c *memoryCursor) hold(e *entry) {
	e.open |= c.bit
	if c.log.Manual {
		e.unsaved |= c.bit
	}
	c.held++
	c.bytes += int64(e.Size())
}

// drop takes note that the cursor is done with e.
func (c *memoryCursor) drop(e *entry) {
	e.open &^= c.bit
	c.held--
	c.bytes -= int64(e.Size())
}

// signal is called with the log's mutex held. The channel holds one signal, which stands for all of them: whoever takes it
// looks after everything that was durable before.
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
	var records []Record
	for ; c.next < m.durable && len(records) < limit; c.next++ {
		if e := m.records[c.next]; e != nil && e.open&c.bit != 0 {
			records = append(records, e.Record)
		}
	}
	if c.next < m.durable {
		c.signal()
	}
	return records, nil
}

// Read implements Cursor.
func (c *memoryCursor) Read(p []Pos) ([]Record, error) {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	records := make([]Record, 0, len(p))
	for _, pos := range p {
		if e := m.records[pos]; pos < c.next && e != nil && e.open&c.bit != 0 {
			records = append(records, e.Record)
		}
	}
	return records, nil
}

// Replaying implements Cursor.
func (c *memoryCursor) Replaying() bool {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	for pos := c.next; pos < c.replay; pos++ {
		if e := m.records[pos]; e != nil && e.open&c.bit != 0 {
			return true
		}
	}
	return false
}

// Done implements Cursor.
func (c *memoryCursor) Done(pos Pos) {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	if pos >= c.next {
		panic(fmt.Sprintf("spool: cursor %q: done with position %d, which Next has not returned", c.sink, pos))
	}
	if e := m.records[pos]; e != nil && e.open&c.bit != 0 {
		c.drop(e)
		m.free(e)
	}
}

// Mark implements Cursor.
func (c *memoryCursor) Mark() []byte {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.mark
}

// Save implements Cursor.
func (c *memoryCursor) Save(mark []byte) error {
	m := c.log
	m.mu.Lock()
	defer m.mu.Unlock()
	c.mark = mark
	if !m.Manual {
		return nil
	}
	for _, e := range m.held() {
		if e.unsaved&c.bit == 0 || e.Pos >= c.next || e.open&c.bit != 0 && !m.SaveAhead {
			continue
		}
		e.unsaved &^= c.bit
		c.highest = max(c.highest, e.Pos)
		m.free(e)
	}
	return nil
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

package spool

import (
	"fmt"
	"slices"
	"sync"

	"github.com/taskbridge/taskbridge/internal/event"
)

// diskCursor is a cursor of a Disk; it is there for every cursor file, also where no sink opens it.
type diskCursor struct {
	log    *Disk
	sink   string
	keep   func(*event.Header) bool
	ready  chan struct{}
	opened bool
	lost   int // records that were open at the start and in no segment

	saving sync.Mutex // one Save at a time

	mu    sync.Mutex
	parts []*part // one per segment of the log, in its order
	at    Pos     // where Next goes on
	end   Pos     // behind the last durable record
	old   Pos     // behind the last record that the log held at opening
	mark  []byte
	saved bool // the file has what is here

	oldest     Pos // for Pending: the oldest open position, and when it was received
	oldestTime event.Instant
}

var _ Cursor = (*diskCursor)(nil)

// newDiskCursor makes a cursor of a log that ends at end.
func newDiskCursor(sink string, end Pos) *diskCursor {
	return &diskCursor{sink: sink, ready: make(chan struct{}, 1), end: end, old: end}
}

// start begins the delivery.
func (c *diskCursor) start(o CursorOptions) {
	c.opened, c.keep = true, o.Keep
	if c.Replaying() {
		c.signal()
	}
}

// signal: the channel holds one signal, which stands for all of them.
func (c *diskCursor) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// Ready implements [Cursor].
func (c *diskCursor) Ready() <-chan struct{} { return c.ready }

// extend is told of a new segment.
func (c *diskCursor) extend(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := newPart(s, false)
	p.saved = true // nothing is in it
	c.parts = append(c.parts, p)
}

// take is told of a durable group, which lies in the newest segment and makes its bytes used. It returns the first position that is not done.
func (c *diskCursor) take(g *group, used int64) Pos {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.parts[len(c.parts)-1]
	p.grow(g.end())
	p.used, p.saved = used, false
	if c.keep != nil || g.targets != nil {
		for i := range g.records {
			if r := &g.records[i]; !c.wants(&r.Header, g.targets[r.Pos]) {
				p.finish(r.Pos)
			}
		}
	}
	c.end, c.saved = g.end(), false
	c.signal()
	return c.first()
}

// wants reports whether the sink gets a record that is for target. A record for one sink alone was let through once.
func (c *diskCursor) wants(h *event.Header, target string) bool {
	if target != "" {
		return target == c.sink
	}
	return c.keep == nil || c.keep(h)
}

// part finds the part that holds pos; nil: none does. It is called with mu held, like all that follow without a word.
func (c *diskCursor) part(pos Pos) *part {
	i, found := slices.BinarySearchFunc(c.parts, pos, func(p *part, pos Pos) int {
		switch {
		case p.end <= pos:
			return -1
		case p.base > pos:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return c.parts[i]
}

// first is the first position that is not done.
func (c *diskCursor) first() Pos {
	for _, p := range c.parts {
		if p.open > 0 {
			return p.next(0)
		}
	}
	return c.end
}

// want is up to limit positions to be returned next, all of one part; nil: there is none.
func (c *diskCursor) want(limit int) (*part, []Pos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		if p.end <= c.at || p.open == 0 {
			continue
		}
		var want []Pos
		for pos := p.next(c.at); pos < p.end && len(want) < limit; pos = p.next(pos + 1) {
			if want == nil {
				want = make([]Pos, 0, min(limit, p.open))
			}
			want = append(want, pos)
		}
		if want != nil {
			return p, want
		}
	}
	return nil, nil
}

// readLimit bounds what one Next reads from disk, so that a sink that wants little of a long log still gets its turn for other things.
const readLimit = 8192

// Next implements [Cursor].
func (c *diskCursor) Next(limit int) ([]Record, error) {
	var records []Record
	for read := 0; len(records) < limit; {
		if read >= readLimit {
			c.signal()
			return records, nil
		}
		p, want := c.want(min(limit-len(records), readLimit))
		if p == nil {
			return records, nil
		}
		var err error
		if records, err = c.next(p, want, records); err != nil {
			c.signal()
			if len(records) > 0 { // they count as returned; the error will come again if it stays
				return records, nil
			}
			return nil, err
		}
		read += len(want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at < c.end {
		c.signal()
	}
	return records, nil
}

// next appends the records at want that the sink wants, and puts the cursor behind those it has come past.
func (c *diskCursor) next(p *part, want []Pos, records []Record) ([]Record, error) {
	recent, rest := c.log.fromRecent(make([]Record, 0, len(want)), want)
	var passed []Pos // without a record for this sink
	from := 0        // of rest
	err := c.log.read(p.seg, rest, func(f *frame) {
		for ; rest[from] < f.pos; from++ { // lost with its segment's scan, or of a kind that this version does not know
			passed = append(passed, rest[from])
		}
		from++
		r, target := f.record(c.log.epoch)
		if r.Pos >= p.fresh || c.wants(&r.Header, target) {
			records = append(records, r)
		} else {
			passed = append(passed, r.Pos)
		}
	})
	at := want[len(want)-1] + 1
	if err == nil {
		passed = append(passed, rest[from:]...)
		if len(records) == 0 {
			records = recent
		} else {
			records = append(records, recent...)
		}
	} else if from < len(rest) {
		at = rest[from]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range passed {
		c.finish(p, pos)
	}
	c.at = at
	return records, err
}

func (c *diskCursor) finish(p *part, pos Pos) {
	if p.finish(pos) {
		c.saved = false
	}
}

// fromRecent appends the records at want that are in memory, and returns the positions of those that are not: the lower ones.
func (d *Disk) fromRecent(records []Record, want []Pos) (found []Record, rest []Pos) {
	d.state.Lock()
	defer d.state.Unlock()
	var g *group
	for i, pos := range want {
		if g == nil || pos >= g.end() {
			g = d.recent.find(pos)
		}
		if g == nil {
			rest = want[:i+1]
			continue
		}
		records = append(records, g.records[pos-g.from])
	}
	return records, rest
}

// Read implements [Cursor].
func (c *diskCursor) Read(ask []Pos) ([]Record, error) {
	open := make([]Pos, 0, len(ask))
	c.mu.Lock()
	for _, pos := range ask {
		if pos >= c.at {
			c.mu.Unlock()
			return nil, fmt.Errorf("read position %d: Next has not returned it", pos)
		}
		if p := c.part(pos); p != nil && !p.isDone(pos) {
			open = append(open, pos)
		}
	}
	c.mu.Unlock()
	if len(open) == 0 {
		return nil, nil
	}
	if rises(open) {
		return c.read(open)
	}
	records, err := c.read(slices.Compact(slices.Sorted(slices.Values(open))))
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(open))
	for _, pos := range open {
		i, found := slices.BinarySearchFunc(records, pos, func(r Record, pos Pos) int { return int(int64(r.Pos) - int64(pos)) })
		if found {
			out = append(out, records[i])
		}
	}
	return out, nil
}

func rises(p []Pos) bool {
	for i := 1; i < len(p); i++ {
		if p[i] <= p[i-1] {
			return false
		}
	}
	return true
}

// read returns the records at want, which rises.
func (c *diskCursor) read(want []Pos) ([]Record, error) {
	recent, rest := c.log.fromRecent(make([]Record, 0, len(want)), want)
	if len(rest) == 0 {
		return recent, nil
	}
	records := make([]Record, 0, len(want))
	for len(rest) > 0 {
		c.mu.Lock()
		p, n := c.part(rest[0]), 1
		if p != nil {
			n, _ = slices.BinarySearch(rest, p.end)
		}
		c.mu.Unlock()
		if p != nil { // else its segment has gone meanwhile: it was skipped
			err := c.log.read(p.seg, rest[:n], func(f *frame) {
				r, _ := f.record(c.log.epoch)
				records = append(records, r)
			})
			if err != nil {
				return nil, err
			}
		}
		rest = rest[n:]
	}
	return append(records, recent...), nil
}

// Replaying implements [Cursor].
func (c *diskCursor) Replaying() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		if p.base >= c.old {
			return false
		}
		if p.end > c.at && p.next(c.at) < p.end {
			return true
		}
	}
	return false
}

// Done implements [Cursor].
func (c *diskCursor) Done(pos Pos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pos >= c.at || pos == 0 {
		panic(fmt.Sprintf("spool: cursor %q: done with position %d, which was not returned", c.sink, pos))
	}
	if p := c.part(pos); p != nil {
		c.finish(p, pos)
	}
}

// lose counts positions that cannot be read as done.
func (c *diskCursor) lose(s *segment, from, to Pos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		if p.seg == s {
			p.settle(from, to)
			c.saved = false
		}
	}
}

// Mark implements [Cursor].
func (c *diskCursor) Mark() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mark)
}

// Pending implements [Cursor].
func (c *diskCursor) Pending() (records int, bytes int64, oldest event.Instant) {
	c.mu.Lock()
	for _, p := range c.parts {
		records += p.open
		bytes += p.bytes()
	}
	first, known, at := c.first(), c.oldest, c.oldestTime
	c.mu.Unlock()
	if records == 0 {
		return 0, 0, 0
	}
	if first == known {
		return records, bytes, at
	}
	if found, err := c.read([]Pos{first}); err == nil && len(found) == 1 {
		at = found[0].Header.Recorded
		c.mu.Lock()
		c.oldest, c.oldestTime = first, at
		c.mu.Unlock()
	}
	return records, bytes, at
}

// saves reports whether the cursor's file needs nothing of its part i, late whether it would need nothing of some part were it saved now; drop forgets a
// part. All are called with the log's state held.
func (c *diskCursor) saves(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts[i].saved
}

// holds reports whether the sink is not done with segment i.
func (c *diskCursor) holds(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts[i].open > 0
}

func (c *diskCursor) late() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.parts[:max(0, len(c.parts)-1)], func(p *part) bool { return p.open == 0 && !p.saved })
}

func (c *diskCursor) drop(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = slices.Delete(c.parts, i, i+1)
}

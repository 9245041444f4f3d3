package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// world drives one log through processes, and knows what it has promised. Two sinks: work delivers and saves, keep never finishes anything, so that
// the log must hold all.
type world struct {
	rnd   *rand.Rand
	files *cutFiles
	tick  time.Time

	disk       *Disk
	work, keep Cursor
	queue      []Pos // returned to work, and not done

	mu      sync.Mutex
	promise promise

	highest Pos // given by this process, or by an earlier one to what was durable
	damaged bool

	// For controls: the checkpoint does not wait for the log; segments do not say what they supersede.
	eager     bool
	supersede bool
}

// promise is what the log owes after a crash.
type promise struct {
	entries  []entryOf // appended, in the order of the log
	durable  int       // how many of them are known to be durable
	done     map[int]bool
	saved    map[int]bool // done before a Save that returned
	marks    []string     // what may be the mark: the first was saved, the others tried
	views    []viewsOf    // the same
	nextID   int
	nextMark int
}

type entryOf struct {
	id    int // 0: an alive record
	alive time.Time
	pos   Pos // 0: not known
}

type viewsOf struct{ n, from, last int }

func (p *promise) clone() promise {
	c := *p
	c.entries, c.marks, c.views = slices.Clone(p.entries), slices.Clone(p.marks), slices.Clone(p.views)
	c.done, c.saved = maps.Clone(p.done), maps.Clone(p.saved)
	return c
}

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 2)), files: newCutFiles(), tick: time.Unix(1_800_000_000, 0), supersede: true}
	w.promise = promise{done: map[int]bool{}, saved: map[int]bool{}, marks: []string{""}, nextID: 1}
	return w
}

const worldDir = "/spool"

// start opens the log and holds it against what was promised. damage: bytes were changed while it was closed.
func (w *world) start(damage bool) error {
	w.damaged = w.damaged || damage
	d, err := Open(Options{Dir: worldDir, Files: w.files, segmentBytes: 2 << 10, Now: func() time.Time { return w.tick }})
	if err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	w.disk, w.queue = d, nil
	if w.work, err = d.Cursor("work", CursorOptions{}); err != nil {
		return err
	}
	if w.keep, err = d.Cursor("keep", CursorOptions{}); err != nil {
		return err
	}
	var views string
	var folded []int
	alive, err := d.Recover(func(r io.Reader) error {
		b, err := io.ReadAll(r)
		views = string(b)
		return err
	}, func(r *Record) { folded = append(folded, idOf(r)) })
	if err != nil {
		return fmt.Errorf("Recover: %w", err)
	}
	kept, err := w.drain(w.keep)
	if err != nil {
		return err
	}
	p := &w.promise
	if damage {
		err = w.lost(kept, alive)
	} else {
		err = w.survived(kept, alive)
	}
	if err != nil {
		return err
	}
	w.highest = 0
	for _, e := range p.entries {
		w.highest = max(w.highest, e.pos)
	}
	if c := d.Status(); !w.damaged && c.Corrupt != 0 {
		return fmt.Errorf("%w: a crash is reported as damage: %+v", errViolated, c)
	}
	// What work gets.
	worked, err := w.drain(w.work)
	if err != nil {
		return err
	}
	var again []int
	for _, r := range worked {
		again = append(again, idOf(&r))
		w.queue = append(w.queue, r.Pos)
	}
	if !slices.IsSorted(again) {
		return fmt.Errorf("%w: out of order: %v", errViolated, again)
	}
	for _, e := range p.entries {
		_, got := slices.BinarySearch(again, e.id)
		if e.id != 0 && (got && p.saved[e.id] || !got && !p.done[e.id]) {
			return fmt.Errorf("%w: event %d: delivered again %v, done %v, saved as done %v", errViolated, e.id, got, p.done[e.id], p.saved[e.id])
		}
		if e.id != 0 {
			p.done[e.id], p.saved[e.id] = !got, !got
		}
	}
	if mark := string(w.work.Mark()); !slices.Contains(p.marks, mark) {
		return fmt.Errorf("%w: mark %q, want one of %q", errViolated, mark, p.marks)
	}
	p.marks = []string{string(w.work.Mark())}
	return w.recovered(views, folded, damage)
}

// drain takes all that a cursor returns.
func (w *world) drain(c Cursor) ([]Record, error) {
	var all []Record
	for {
		records, err := c.Next(1 + w.rnd.IntN(40))
		if err != nil {
			return nil, fmt.Errorf("Next: %w", err)
		}
		if len(records) == 0 {
			return all, nil
		}
		for i := range records {
			if err := check(&records[i]); err != nil {
				return nil, err
			}
		}
		all = append(all, records...)
	}
}

// survived: exactly a beginning of what was appended is there, and at least what was known to be durable.
func (w *world) survived(kept []Record, alive time.Time) error {
	p := &w.promise
	n := 0
	for _, r := range kept {
		for n < len(p.entries) && p.entries[n].id == 0 {
			n++
		}
		if n == len(p.entries) || p.entries[n].id != idOf(&r) || p.entries[n].pos != 0 && p.entries[n].pos != r.Pos {
			return fmt.Errorf("%w: event %d at %d where %+v was appended", errViolated, idOf(&r), r.Pos, p.entries[min(n, len(p.entries)-1)])
		}
		p.entries[n].pos = r.Pos
		n++
	}
	for _, e := range p.entries[n:max(n, p.durable)] {
		if e.id != 0 {
			return fmt.Errorf("%w: event %d was durable and is lost", errViolated, e.id)
		}
	}
	// Of the alive records behind the last event some may be there: the newest tells which.
	end := max(n, p.durable)
	newest := w.alive(end)
	for end < len(p.entries) && p.entries[end].id == 0 && !newest.Equal(alive) {
		end++
		newest = w.alive(end)
	}
	if !newest.Equal(alive) {
		return fmt.Errorf("%w: alive %v, want %v", errViolated, alive, newest)
	}
	p.entries, p.durable = p.entries[:end], end
	return nil
}

func (w *world) alive(end int) (t time.Time) {
	for _, e := range w.promise.entries[:end] {
		if e.id == 0 {
			t = e.alive
		}
	}
	return t
}

// lost: after damage, what is missing is reported.
func (w *world) lost(kept []Record, alive time.Time) error {
	p := &w.promise
	byID := map[int]entryOf{}
	events := 0
	for _, e := range p.entries {
		if e.id != 0 {
			byID[e.id] = e
			events++
		}
	}
	p.entries = nil
	last := 0
	for _, r := range kept {
		e, ok := byID[idOf(&r)]
		if !ok || e.pos != r.Pos || e.id <= last {
			return fmt.Errorf("%w: event %d at %d after %d", errViolated, idOf(&r), r.Pos, last)
		}
		last = e.id
		p.entries = append(p.entries, e)
	}
	s := w.disk.Status()
	least := events - len(kept)
	if least > 0 && w.headless() {
		least = 1 // without the header, and damaged more than once, how many there were cannot be told
	}
	if missing := events - len(kept); s.Cut == 0 && int(s.Corrupt) < least {
		return fmt.Errorf("%w: %d events are missing, and %d reported", errViolated, missing, s.Corrupt)
	}
	p.entries = append(p.entries, entryOf{alive: alive}) // which one is left is not checked
	p.durable = len(p.entries)
	return nil
}

// recovered checks the views and what was folded after them.
func (w *world) recovered(views string, folded []int, damage bool) error {
	p := &w.promise
	var v viewsOf
	if views != "" {
		if _, err := fmt.Sscanf(views, "%d %d %d", &v.n, &v.from, &v.last); err != nil {
			return err
		}
	}
	if damage {
		if views == "" {
			p.views = nil
		}
	} else if !slices.Contains(p.views, v) && (v.n != 0 || len(p.views) > 0 && p.views[0].n != 0) {
		return fmt.Errorf("%w: views %+v, want one of %+v", errViolated, v, p.views)
	}
	p.views = []viewsOf{v}
	var want []int
	last := 0
	for _, e := range p.entries {
		if last = max(last, e.id); e.id != 0 && e.id >= v.from {
			want = append(want, e.id)
		}
	}
	if v.last > last && !damage {
		return fmt.Errorf("%w: views know of event %d, and the log ends with %d", errViolated, v.last, last)
	}
	if !slices.Equal(want, folded) {
		return fmt.Errorf("%w: folded %v, want %v", errViolated, folded, want)
	}
	return nil
}

func idOf(r *Record) int {
	id, _ := strconv.Atoi(r.Header.ID)
	return id
}

// contentOf is the event of an id.
func contentOf(id int) *event.Encoded {
	return &event.Encoded{
		Header: event.Header{ID: fmt.Sprint(id), PartitionKey: fmt.Sprint("k", id%5), Recorded: event.Instant(id)},
		Data:   bytes.Repeat([]byte{byte(id), byte(id >> 8), '#'}, 1+id*7919%60),
	}
}

func check(r *Record) error {
	want := contentOf(idOf(r))
	if r.Header != want.Header || !bytes.Equal(r.Data, want.Data) || r.Key != Hash(want.Header.PartitionKey) {
		return fmt.Errorf("%w: wrong data at %d, which says that it is event %d", errViolated, r.Pos, idOf(r))
	}
	return nil
}

// step does one random thing.
func (w *world) step() error {
	w.tick = w.tick.Add(time.Second)
	switch w.rnd.IntN(12) {
	case 0, 1, 2, 3:
		for range 1 + w.rnd.IntN(12) {
			if err := w.append(); err != nil {
				return err
			}
		}
	case 4:
		return w.say(entryOf{alive: w.tick}, func(*entryOf) error { return w.disk.Alive(w.tick) })
	case 5, 6:
		w.mu.Lock()
		n := len(w.promise.entries)
		w.mu.Unlock()
		if w.disk.Sync() == nil {
			w.mu.Lock()
			w.promise.durable = max(w.promise.durable, n)
			w.mu.Unlock()
		}
	case 7:
		return w.next()
	case 8:
		return w.read()
	case 9:
		w.finish()
	case 10:
		w.save()
	case 11:
		w.checkpoint()
	}
	time.Sleep(time.Duration(w.rnd.IntN(300)) * time.Millisecond) // virtual
	return nil
}

func (w *world) append() error {
	w.mu.Lock()
	id := w.promise.nextID
	w.promise.nextID++
	w.mu.Unlock()
	return w.say(entryOf{id: id}, func(e *entryOf) (err error) {
		e.pos, err = w.disk.Append(Normal, contentOf(id))
		if err == nil && e.pos <= w.highest {
			return fmt.Errorf("%w: position %d comes after %d", errViolated, e.pos, w.highest)
		}
		w.highest = max(w.highest, e.pos)
		return err
	})
}

// say appends. The entry is noted before: a crash may find it in the file before Append has returned.
func (w *world) say(e entryOf, do func(*entryOf) error) error {
	w.mu.Lock()
	w.promise.entries = append(w.promise.entries, e)
	w.mu.Unlock()
	err := do(&e)
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.promise.entries) - 1
	if err == nil {
		w.promise.entries[n].pos = e.pos
		return nil
	}
	w.promise.entries = w.promise.entries[:n]
	if errors.Is(err, errViolated) {
		return err
	}
	return nil // refused
}

func (w *world) next() error {
	records, err := w.work.Next(1 + w.rnd.IntN(20))
	if err != nil {
		return fmt.Errorf("Next: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range records {
		if err := check(&records[i]); err != nil {
			return err
		}
		w.queue = append(w.queue, records[i].Pos)
		at := slices.IndexFunc(w.promise.entries, func(e entryOf) bool { return e.pos == records[i].Pos })
		w.promise.durable = max(w.promise.durable, at+1)
	}
	return nil
}

func (w *world) read() error {
	if len(w.queue) == 0 {
		return nil
	}
	var ask []Pos
	for range 1 + w.rnd.IntN(6) {
		ask = append(ask, w.queue[w.rnd.IntN(len(w.queue))])
	}
	records, err := w.work.Read(ask)
	if err != nil {
		return fmt.Errorf("Read: %w", err)
	}
	if !slices.Equal(positions(records), ask) {
		return fmt.Errorf("%w: Read of %v: got %v", errViolated, ask, positions(records))
	}
	for i := range records {
		if err := check(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) finish() {
	for range min(len(w.queue), w.rnd.IntN(20)) {
		i := w.rnd.IntN(len(w.queue))
		pos := w.queue[i]
		w.queue = slices.Delete(w.queue, i, i+1)
		w.mu.Lock()
		at := slices.IndexFunc(w.promise.entries, func(e entryOf) bool { return e.pos == pos })
		w.promise.done[w.promise.entries[at].id] = true
		w.mu.Unlock()
		w.work.Done(pos)
	}
}

func (w *world) save() {
	w.mu.Lock()
	p := &w.promise
	p.nextMark++
	mark := fmt.Sprint("mark ", p.nextMark)
	p.marks = append(p.marks, mark)
	done := maps.Clone(p.done)
	w.mu.Unlock()
	if w.work.Save([]byte(mark)) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.saved, p.marks = done, []string{mark}
}

func (w *world) checkpoint() {
	w.mu.Lock()
	p := &w.promise
	v := viewsOf{n: 1, from: p.nextID}
	if len(p.views) > 0 {
		v.n = p.views[len(p.views)-1].n + 1
	}
	w.mu.Unlock()
	wait := w.disk.await
	if w.eager {
		wait = func(uint64) error { return nil }
	}
	err := w.disk.checkpoint(func(out io.Writer) error {
		for range w.rnd.IntN(3) {
			if err := w.append(); err != nil {
				return err
			}
		}
		w.mu.Lock()
		for _, e := range p.entries {
			v.last = max(v.last, e.id)
		}
		p.views = append(p.views, v)
		w.mu.Unlock()
		_, err := fmt.Fprintf(out, "%d %d %d", v.n, v.from, v.last)
		return err
	}, wait)
	if err == nil {
		w.mu.Lock()
		p.views = []viewsOf{v}
		w.mu.Unlock()
	}
}

package bridge

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// fakeBroker stores in order of arrival, recognises repeats for a while, and fails in every way a broker may.
type fakeBroker struct {
	w       *world
	records int
	wire    []*sink.Batch // sent and not yet processed
	silent  []timeout     // processed or lost, and the answer will not come
	log     []spool.Record
	stored  map[string]time.Time
	down    bool
	stuck   int // this lane is not processed; -1: none
	upAt    time.Time
	window  time.Duration      // in which repeats are recognised
	lanes   int                // how many there are, as far as the process knows; 0: it does not
	next    int                // how many there are
	told    bool               // the process was told that they changed
	ghosts  []timeout          // of processes that are dead, still on their way
	late    map[spool.Pos]bool // stored of them since the broker was last asked
	twice   map[spool.Pos]bool // and stored again: nobody could know
}

type timeout struct {
	batch *sink.Batch
	at    time.Time
}

var errCut = errors.New("connection cut")

func (b *fakeBroker) Limits() sink.Limits {
	return sink.Limits{Lanes: b.lanes, InFlight: 6, Records: b.records, Bytes: 4000}
}

func (b *fakeBroker) Open(context.Context) error {
	b.w.call()
	defer b.w.call()
	if b.down || b.w.chance(0.2) {
		return errCut
	}
	if len(b.wire)+len(b.silent) > 0 {
		b.w.say("lanes asked for while %d batches are out", len(b.wire)+len(b.silent))
	}
	if b.lanes > 0 && b.lanes != b.next {
		b.w.Relaned++
	}
	b.lanes, b.told = b.next, false
	return nil
}

func (b *fakeBroker) Lane(r *spool.Record) int {
	switch {
	case b.lanes == 0:
		panic("Lane before Open")
	case b.w.randomLanes:
		return b.w.rng.IntN(b.lanes)
	case b.w.lanesAtOnce:
		return int(r.Key % uint32(b.next))
	}
	return int(r.Key % uint32(b.lanes))
}

func (b *fakeBroker) Send(batch *sink.Batch) {
	b.w.call()
	defer b.w.call()
	b.w.sent = true
	if b.down {
		batch.Done(errCut)
		return
	}
	if b.next != b.lanes && !b.told && !b.w.lanesAtOnce {
		b.told = true
		batch.Done(sink.ErrLanes)
		return
	}
	if !batch.FirstSent.IsZero() && b.w.clock.Sub(batch.FirstSent) > b.window*8/10 && !b.w.neverUnsure {
		b.w.Unsure++
		batch.Done(sink.ErrUnsure)
		return
	}
	if batch.FirstSent.IsZero() {
		batch.FirstSent, batch.Place = b.w.clock, []byte(strconv.Itoa(len(b.log)))
	}
	b.wire = append(b.wire, batch)
}

func (b *fakeBroker) poison(id string) bool {
	h := fnv.New32()
	h.Write([]byte(id))
	return h.Sum32()%211 == 0
}

func (b *fakeBroker) misbehave() {
	switch {
	case b.w.chance(0.005) && !b.down:
		b.down = true
		b.upAt = b.w.clock.Add(time.Duration(b.w.rng.IntN(40_000)) * time.Millisecond)
		for _, batch := range b.wire {
			if b.w.chance(0.5) {
				b.store(batch)
			}
			batch.Done(errCut)
		}
		b.wire = nil
		for _, t := range b.silent {
			t.batch.Done(errCut)
		}
		b.silent = nil
	case b.w.chance(0.005):
		b.stuck = b.w.rng.IntN(b.next)
	case b.w.chance(0.01):
		b.next = 1 + b.w.rng.IntN(32)
	case b.w.chance(0.02):
		b.stuck = -1
	}
	if b.down && b.w.clock.After(b.upAt) {
		b.down = false
	}
}

// turn processes some of what is on the wire, in no order, and lets answers that were lost time out.
func (b *fakeBroker) turn() {
	if b.w.calm {
		b.stuck = -1
	}
	for n := b.w.rng.IntN(6) + 1; n > 0 && len(b.wire) > 0; n-- {
		i := b.w.rng.IntN(len(b.wire))
		batch := b.wire[i]
		b.wire = append(b.wire[:i], b.wire[i+1:]...)
		if batch.Lane == b.stuck {
			b.silent = append(b.silent, timeout{batch, b.w.clock.Add(3 * time.Second)})
			continue
		}
		b.process(batch)
	}
	rest := b.silent[:0]
	for _, t := range b.silent {
		if b.w.clock.Before(t.at) {
			rest = append(rest, t)
			continue
		}
		t.batch.Done(errors.New("no answer in time"))
	}
	b.silent = rest
}

func (b *fakeBroker) process(batch *sink.Batch) {
	var bad []spool.Pos
	for _, r := range batch.Records {
		if b.poison(r.Header.ID) {
			bad = append(bad, r.Pos)
		}
	}
	if len(bad) > 0 {
		b.w.Rejected++
		if b.w.rng.IntN(2) == 0 {
			bad = nil // the broker does not say which one
		}
		batch.Done(&sink.Rejected{Pos: bad, Err: errors.New("poison")})
		return
	}
	if b.w.loseAcked && b.w.chance(0.01) {
		batch.Done(nil)
		return
	}
	if b.w.chance(0.1) { // lost on the way there or back
		if b.w.chance(0.5) {
			b.store(batch)
		}
		b.silent = append(b.silent, timeout{batch, b.w.clock.Add(5 * time.Second)})
		return
	}
	b.store(batch)
	batch.Done(nil)
}

// store stores the batch, as a broker does: all of it, or nothing where it has something that is refused.
func (b *fakeBroker) store(batch *sink.Batch) {
	if slices.ContainsFunc(batch.Records, func(r spool.Record) bool { return b.poison(r.Header.ID) }) {
		return
	}
	for _, r := range batch.Records {
		at, ok := b.stored[r.Header.ID]
		if ok && b.w.clock.Sub(at) < b.window && !b.w.noDedup {
			continue
		}
		if ok && b.late[r.Pos] {
			b.twice[r.Pos] = true
		}
		b.stored[r.Header.ID] = b.w.clock
		b.log = append(b.log, r)
	}
}

func (b *fakeBroker) Mark(open []*sink.Batch) []byte {
	place := len(b.log)
	if b.w.markLatest {
		open = nil
	}
	for _, o := range open {
		p, err := strconv.Atoi(string(o.Place))
		if err != nil {
			panic(err)
		}
		place = min(place, p)
	}
	return []byte(strconv.Itoa(place))
}

func (b *fakeBroker) Landed(_ context.Context, mark []byte, found func(string)) error {
	b.w.call()
	defer b.w.call()
	if b.down || b.w.chance(0.2) {
		return errCut
	}
	if mark == nil || found == nil || b.w.noStartCheck && !b.w.sent {
		return nil
	}
	from, err := strconv.Atoi(string(mark))
	if err != nil {
		return err
	}
	if !b.w.sent {
		b.w.Found += len(b.log) - from
	} else if b.w.publisher().starting {
		b.w.Windows++
	}
	clear(b.late)
	for _, r := range b.log[from:] {
		found(r.Header.ID)
	}
	return nil
}

// cut ends the connection of a process that has died: what is under way is lost, or stored, or stored somewhat later.
func (b *fakeBroker) cut() {
	for _, batch := range b.wire {
		switch b.w.rng.IntN(3) {
		case 0:
			b.store(batch)
		case 1:
			b.ghosts = append(b.ghosts, timeout{batch, b.w.clock.Add(time.Duration(b.w.rng.IntN(1000)) * time.Millisecond)})
		}
	}
	b.wire, b.silent, b.lanes, b.told = nil, nil, 0, false
}

// haunt stores what a dead process had sent and was late.
func (b *fakeBroker) haunt() {
	rest := b.ghosts[:0]
	for _, g := range b.ghosts {
		if b.w.clock.Before(g.at) {
			rest = append(rest, g)
			continue
		}
		b.store(g.batch)
		for _, r := range g.batch.Records {
			b.late[r.Pos] = true
		}
	}
	b.ghosts = rest
}

func (b *fakeBroker) Close(context.Context) error { return nil }

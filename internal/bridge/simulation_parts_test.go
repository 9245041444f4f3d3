package bridge

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// toyMapper maps "<noun> <verb> <resource> <task> <revision>", and "state" followed by the open reservations.
type toyMapper struct{ w *world }

var toyStatus = map[string]event.ReservationStatus{
	"created": event.ReservationPending, "accepted": event.ReservationStatusAccepted, "rejected": event.ReservationStatusRejected,
	"wrapping": event.ReservationStatusWrapping, "completed": event.ReservationStatusCompleted, "ended_unseen": event.ReservationStatusUnknown,
}

func (t toyMapper) Map(v *mapping.View, f source.Frame, emit func(*event.Event) error) mapping.Outcome {
	outcome := mapping.Repeat
	news := func(e *event.Event) bool {
		if v.Told(e.ID) && !t.w.forget {
			t.w.Repeats++
			return true
		}
		outcome = mapping.Mapped
		return emit(e) == nil
	}
	lines := strings.Split(string(f.Body), "\n")
	if f.Feed == source.Live {
		w := strings.Fields(lines[0])
		news(toyEvent(v, event.Type(w[0]+"."+w[1]), w[2], w[3], w[4], event.OriginSocket))
		return outcome
	}
	present := map[string]bool{}
	for _, line := range lines[1:] {
		w := strings.Fields(line)
		present[w[1]] = true
		if v.Ended(w[1]) {
			continue
		}
		if !news(toyEvent(v, event.ReservationCreated, w[1], w[2], "0", event.OriginSnapshot)) {
			return outcome
		}
		if w[0] != "created" && !news(toyEvent(v, event.Type("reservation."+w[0]), w[1], w[2], w[3], event.OriginSnapshot)) {
			return outcome
		}
	}
	for _, id := range sortedKeys(v.Reservations) {
		if r := v.Reservations[id]; !present[id] && r.Told < event.InstantOf(f.Received) {
			e := toyEvent(v, event.ReservationEndedUnseen, id, r.Task, strconv.FormatInt(r.Revision.V+1, 10), event.OriginBridge)
			if emit(e) != nil {
				return outcome
			}
		}
	}
	return outcome
}

func toyEvent(v *mapping.View, t event.Type, id, task, rev string, o event.Origin) *event.Event {
	n, err := strconv.ParseInt(rev, 10, 64)
	if err != nil {
		panic(err)
	}
	e := &event.Event{
		ID: id + ":" + t.Verb(), Source: "/toy", Type: t, Subject: id, Origin: o, PartitionKey: task,
		Data: event.Data{Revision: event.Some(n), Agent: &event.Agent{ID: v.Agent.ID}, Task: &event.Task{ID: task, ChainID: task}},
	}
	if t.Noun() == "task" {
		e.ID += ":" + rev
	} else {
		e.Data.Reservation = &event.Reservation{ID: id, Status: toyStatus[t.Verb()]}
	}
	return e
}

// tapedLog keeps what was appended, for the verdict.
type tapedLog struct {
	spool.Log
	w        *world
	told     map[string][]*event.Event // since the agent was last met anew
	covers   map[string][]cover
	last     map[string]string // newest fact by socket and key
	disorder []string
	all      []*event.Event
	order    int
}

// cover is a stretch in which an agent is watched, with its gaps.
type cover struct {
	from, to time.Time
	gaps     map[string]*event.Gap
}

func (l *tapedLog) Append(c spool.Class, e *event.Encoded) (spool.Pos, error) {
	if l.w.dropGaps && e.Header.Type == event.SessionGap {
		return 0, nil
	}
	pos, err := l.Log.Append(c, e)
	if err != nil {
		l.w.Full++
		return pos, err
	}
	d, err := e.Decode()
	if err != nil {
		panic(err)
	}
	l.note(d)
	return pos, nil
}

func (l *tapedLog) note(e *event.Event) {
	if l.told == nil {
		l.told, l.covers, l.last = map[string][]*event.Event{}, map[string][]cover{}, map[string]string{}
	}
	id := e.Data.Agent.ID
	if e.Type == event.SessionReady && e.Data.Session.Continuity == event.ContinuityUnknown {
		l.told[id] = nil
		l.covers[id] = append(l.covers[id], cover{from: e.Time.Time(), gaps: map[string]*event.Gap{}})
	}
	l.told[id] = append(l.told[id], e)
	covers := l.covers[id]
	switch e.Type {
	case event.SessionLost:
		if e.Data.Session.Reason == "removed" {
			covers[len(covers)-1].to = e.Time.Time()
		}
	case event.SessionGap:
		if e.Data.Gap.State == event.GapOpened {
			l.w.Gaps++
			if e.Data.Gap.Cause == event.CauseHandover {
				l.w.Handovers++
			}
		}
		if len(covers) > 0 {
			covers[len(covers)-1].gaps[e.Subject] = e.Data.Gap
		}
	case event.ReservationEndedUnseen:
		l.w.EndedUnseen++
	}
	l.covers[id] = covers
	if e.Origin != event.OriginSocket {
		return
	}
	if f := l.w.facts[e.ID]; f != nil && l.w.current != nil {
		if f.shared && len(f.agents) > 1 {
			l.w.Shared++
		}
		key := fmt.Sprintf("%p %s", l.w.current, e.PartitionKey)
		if before := l.w.facts[l.last[key]]; before != nil && f.at.Before(before.at) {
			l.disorder = append(l.disorder, fmt.Sprintf("told out of order: %s after %s", e.ID, l.last[key]))
		}
		l.last[key] = e.ID
	}
}

// excused reports whether a fact about the agent at that time needs not to be on the broker: she was not on the roster or not yet met, or
// it lies in a gap. A second on both sides is for what was under way.
func (l *tapedLog) excused(agent string, at time.Time) bool {
	if !l.w.agent(agent).watched(at) {
		return true
	}
	var in *cover // the last that began before
	for i, c := range l.covers[agent] {
		if !at.Before(c.from) {
			in = &l.covers[agent][i]
		}
	}
	if in == nil || in.from.Before(l.w.agent(agent).since(at)) || !in.to.IsZero() && at.After(in.to.Add(-time.Second)) {
		return true
	}
	for _, g := range in.gaps {
		if !at.Before(g.From.Time().Add(-time.Second)) && (g.To == 0 || !at.After(g.To.Time().Add(time.Second))) {
			return true
		}
	}
	return false
}

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
}

type timeout struct {
	batch *sink.Batch
	at    time.Time
}

const dedupWindow = 20 * time.Second

var errCut = errors.New("connection cut")

func (b *fakeBroker) Limits() sink.Limits {
	return sink.Limits{Lanes: 32, InFlight: 6, Records: b.records, Bytes: 4000}
}

func (b *fakeBroker) Lane(r *spool.Record) int {
	if b.w.randomLanes {
		return b.w.rng.IntN(32)
	}
	return int(r.Key % 32)
}

func (b *fakeBroker) Send(batch *sink.Batch) {
	if b.down {
		batch.Done(errCut)
		return
	}
	if !batch.FirstSent.IsZero() && b.w.clock.Sub(batch.FirstSent) > dedupWindow*8/10 && !b.w.neverUnsure {
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
		b.stuck = b.w.rng.IntN(32)
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

func (b *fakeBroker) store(batch *sink.Batch) {
	for _, r := range batch.Records {
		at, ok := b.stored[r.Header.ID]
		if ok && b.w.clock.Sub(at) < dedupWindow && !b.w.noDedup {
			continue
		}
		b.stored[r.Header.ID] = b.w.clock
		b.log = append(b.log, r)
	}
}

func (b *fakeBroker) Mark(open []*sink.Batch) []byte {
	place := len(b.log)
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
	if b.down || b.w.chance(0.2) {
		return errCut
	}
	if mark == nil {
		return nil
	}
	from, err := strconv.Atoi(string(mark))
	if err != nil {
		return err
	}
	for _, r := range b.log[from:] {
		found(r.Header.ID)
	}
	return nil
}

func (b *fakeBroker) Close(context.Context) error { return nil }

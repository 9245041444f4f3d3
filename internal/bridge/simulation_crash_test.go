package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// died is what the process panics with at a call at which it is killed.
type died struct{}

// process does something in the process that runs, which may die of it.
func (w *world) process(f func()) {
	if w.bridge == nil {
		return
	}
	defer w.buried()
	f()
}

func (w *world) buried() {
	switch r := recover().(type) {
	case nil:
	case died:
		w.crash()
	default:
		panic(r)
	}
}

// call is made before and after whatever the process asks of disk and broker.
func (w *world) call() {
	if w.fuse > 0 {
		if w.fuse--; w.fuse == 0 {
			panic(died{})
		}
	}
}

// fate decides whether the process is to die or to stop: also while the first backlog drains, and twice within a second.
func (w *world) fate() {
	switch {
	case w.fuse > 0:
	case w.chance(0.002), w.bridge.publishers[0].starting && w.chance(0.01):
		w.fuse = 1 + w.rng.IntN(40)
	case w.chance(0.001):
		w.stop()
	}
}

func (w *world) start() {
	w.sent = false
	w.rosterAt = w.clock.Add(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
	switch {
	case w.Crashes == 0 && w.chance(0.5): // soon after it was the first to send anything
		w.fuse = 30 + w.rng.IntN(100)
	case w.chance(0.15):
		w.Again++
		w.fuse = 1 + w.rng.IntN(25)
	}
	o := Options{
		BridgeID: "sim", Silence: 20 * time.Second, DialRate: 20, RefusedRetry: 20 * time.Second, proven: w.proven,
		now: func() time.Time { return w.clock }, rand: w.rng.Float64,
	}
	defer w.buried()
	b, err := New(o, map[string]Feed{"toy": {Mapper: toyMapper{w}}}, w.disk, map[string]sink.Sink{"fake": w.broker}, w.letters, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	w.bridge = b
	b.fleet.launch = w.launch
	p := b.publishers[0]
	p.window, p.holds, p.background = 4+w.rng.IntN(60), w.rng.IntN(8<<10), func(f func()) { f() }
	w.Restored += len(b.fleet.recovered)
	for _, who := range b.fleet.strangers() {
		w.sameView("recovered", b.fleet.recovered[who])
	}
}

// crash ends the process, its sockets and its connection to the broker. Of what was not durable, some may have reached the disk.
func (w *world) crash() {
	w.Crashes++
	if w.bridge != nil && w.bridge.publishers[0].starting {
		w.Starting++
	}
	durable, next := w.disk.Ends()
	end := durable + spool.Pos(w.rng.Int64N(int64(next-durable)+1))
	if w.unsynced {
		end = max(1, durable-min(durable, spool.Pos(w.rng.IntN(8))))
	}
	w.Lost += int(next - end)
	w.end(end)
	switch n := w.rng.IntN(10); {
	case n < 6 && w.Crashes > 1: // after the first one, longer than the broker recognises repeats
		w.startAt = w.clock.Add(time.Duration(w.rng.IntN(900)) * time.Millisecond)
	case n < 9:
		w.startAt = w.clock.Add(time.Duration(w.rng.IntN(6000)) * time.Millisecond)
	default:
		w.startAt = w.clock.Add(time.Duration(w.rng.IntN(40)) * time.Second)
	}
}

func (w *world) end(end spool.Pos) {
	w.disk.Memory = w.disk.Crash(end)
	w.tape.cut(end)
	w.sockets, w.bridge, w.fuse = nil, nil, 0
	w.broker.cut()
}

// stop ends the process in order.
func (w *world) stop() {
	w.Stops++
	w.bridge.fleet.closing = true
	for _, s := range w.sockets {
		w.bridge.fleet.ended(s.member, s.session, errStop)
	}
	for _, m := range w.bridge.fleet.order {
		_ = m.settle()
	}
	if w.disk.stalled() {
		w.crash() // what the stop did not get told is a crash's
		return
	}
	if err := w.bridge.publishers[0].finish(); err != nil {
		w.say("stop: %v", err)
	}
	w.disk.Commit(1 << 40)
	w.bridge.checkpoint()
	w.end(1 << 40)
	w.startAt = w.clock.Add(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
}

func (w *world) say(format string, args ...any) { w.bad = append(w.bad, fmt.Sprintf(format, args...)) }

// setRoster tells the process who the agents are by now.
func (w *world) setRoster() {
	roster := []source.Agent{}
	for _, a := range w.agents {
		if a.wanted == a.off() {
			a.moves = append(a.moves, w.clock)
		}
		if a.wanted {
			roster = append(roster, a.Agent)
		}
	}
	before := len(w.bridge.fleet.recovered)
	if err := w.bridge.SetRoster(map[string][]source.Agent{"toy": roster}); err != nil {
		panic(err)
	}
	if before > len(roster) {
		w.Disowned++
	}
}

// disk is the log with what its disk does: it makes durable what it likes, stalls, and is where the process dies.
type disk struct {
	*spool.Memory
	w       *world
	stallTo time.Time
	late    time.Time // negative control: the alive note that an Up has taken back
}

func (d *disk) stalled() bool { return d.w.clock.Before(d.stallTo) }

// turn makes durable some of what was appended.
func (d *disk) turn() {
	w := d.w
	switch {
	case w.calm:
		d.stallTo = time.Time{}
		d.Commit(1 << 40)
	case d.stalled():
	case w.chance(0.003):
		w.Stalled++
		d.stallTo = w.clock.Add(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
	case w.chance(0.7):
		durable, next := d.Ends()
		d.Commit(durable + spool.Pos(w.rng.Int64N(int64(next-durable)+1)))
	}
}

var errDisk = errors.New("the disk does not answer")

func (d *disk) Append(c spool.Class, e *event.Encoded) (spool.Pos, error) {
	d.w.call()
	defer d.w.call()
	if d.stalled() {
		return 0, spool.ErrStalled
	}
	if e.Header.Type == event.SessionGap && (d.w.dropGaps || d.w.noCrashGap && bytes.Contains(e.Data, []byte(`"cause":"crash"`))) {
		return 1, nil
	}
	pos, err := d.Memory.Append(c, e)
	if err != nil {
		d.w.Full++
		return pos, err
	}
	d.w.tape.note(pos, e)
	if !d.late.IsZero() && e.Header.Type == event.SessionReady {
		_ = d.Memory.Alive(d.late)
		d.late = time.Time{}
	}
	return pos, nil
}

func (d *disk) Alive(t time.Time) error {
	d.w.call()
	defer d.w.call()
	if d.stalled() {
		return spool.ErrStalled
	}
	if last := d.w.tape.alive; t.Before(last) {
		d.w.Late++
		if d.w.aliveRace {
			d.late = last
		}
	}
	d.w.tape.alive = t
	return d.Memory.Alive(t)
}

func (d *disk) Room() bool { return !d.stalled() && d.Memory.Room() }

func (d *disk) Checkpoint(save func(io.Writer) error) error {
	d.w.call()
	defer d.w.call()
	if d.stalled() {
		return errDisk
	}
	d.w.Checkpoints++
	return d.Memory.Checkpoint(save)
}

func (d *disk) Recover(load func(io.Reader) error, fold func(*spool.Record)) (time.Time, error) {
	unusable := d.w.chance(0.02)
	loaded, folded := false, map[spool.Pos]bool{}
	alive, err := d.Memory.Recover(func(r io.Reader) error {
		if unusable {
			d.w.ViewsLost++
			return errDisk
		}
		loaded = true
		return load(r)
	}, func(r *spool.Record) {
		folded[r.Pos] = true
		if !d.w.noFold {
			fold(r)
		}
	})
	d.w.tape.alive = alive
	if unusable && !loaded {
		d.w.tape.forget(folded, alive)
	}
	return alive, err
}

func (d *disk) Cursor(name string, o spool.CursorOptions) (spool.Cursor, error) {
	c, err := d.Memory.Cursor(name, o)
	return &cursor{Cursor: c, w: d.w}, err
}

// cursor is where the process dies, and what fails with the disk.
type cursor struct {
	spool.Cursor
	w *world
}

func (c *cursor) Save(mark []byte) error {
	c.w.call()
	defer c.w.call()
	if c.w.disk.stalled() {
		return errDisk
	}
	switch p := c.w.publisher(); {
	case c.w.markMoves && p != nil && p.starting:
		mark = c.w.broker.Mark(nil)
	case c.w.noFirstMark && !c.w.sent:
		return nil
	}
	return c.Cursor.Save(mark)
}

func (w *world) publisher() *publisher {
	if w.bridge == nil {
		return nil
	}
	return w.bridge.publishers[0]
}

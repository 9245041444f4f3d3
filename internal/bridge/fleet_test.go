package bridge

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// stage is a bridge in virtual time whose sessions the test plays by hand.
type stage struct {
	*Bridge
	t     *testing.T
	clock time.Time
	log   *spool.Memory
	reads spool.Cursor
	dials []dial
}

type dial struct {
	at time.Time
	m  *member
	s  *session
}

func newStage(t *testing.T, o Options, agents int) *stage {
	t.Helper()
	st := &stage{t: t, clock: time.UnixMilli(1_767_323_045_000).UTC(), log: spool.NewMemory(spool.MemoryOptions{})}
	var err error
	if st.reads, err = st.log.Cursor("test", spool.CursorOptions{}); err != nil {
		t.Fatal(err)
	}
	o.BridgeID, o.now, o.rand = "b", func() time.Time { return st.clock }, func() float64 { return 0.5 }
	st.Bridge, err = New(o, map[string]Feed{"toy": {Mapper: rawMapper{}}}, st.log, nil, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	st.fleet.launch = func(m *member, s *session) {
		m.attempt(s).cancel = func(error) {}
		st.dials = append(st.dials, dial{st.clock, m, s})
	}
	var roster []source.Agent
	for i := range agents {
		roster = append(roster, source.Agent{ID: fmt.Sprintf("A%d", i), Source: "toy"})
	}
	if err := st.setRoster(roster); err != nil {
		t.Fatal(err)
	}
	return st
}

// setRoster says who the agents of the stage's one source are.
func (st *stage) setRoster(agents []source.Agent) error {
	return st.SetRoster(map[string][]source.Agent{"toy": agents})
}

// pass lets time pass, with the fleet's turns.
func (st *stage) pass(d time.Duration) {
	for end := st.clock.Add(d); st.clock.Before(end); {
		st.clock = st.clock.Add(tickEvery)
		st.fleet.tick()
	}
}

// dialled waits for the next dial and returns it with how long it took.
func (st *stage) dialled() (dial, time.Duration) {
	st.t.Helper()
	from, n := st.clock, len(st.dials)
	for range 100_000 {
		if len(st.dials) > n {
			return st.dials[n], st.clock.Sub(from)
		}
		st.pass(tickEvery)
	}
	st.t.Fatal("never dialled again")
	return dial{}, 0
}

// told returns what was appended since the last call.
func (st *stage) told() []*event.Event {
	st.t.Helper()
	records, err := st.reads.Next(1 << 20)
	if err != nil {
		st.t.Fatal(err)
	}
	var events []*event.Event
	for _, r := range records {
		e, err := (&event.Encoded{Header: r.Header, Data: r.Data}).Decode()
		if err != nil {
			st.t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// rawMapper finds nothing but what it cannot map.
type rawMapper struct{}

func (rawMapper) Map(v *mapping.View, _ source.Frame, emit func(*event.Event) error) mapping.Outcome {
	_ = lending(emit)(&event.Event{Type: event.BridgeUnmapped, Data: event.Data{Agent: &event.Agent{ID: v.Agent.ID}, Unmapped: &event.Unmapped{Count: 1}}})
	return mapping.Unmapped
}

func TestDialBudgetSpreadsFirstDialsAndReconnects(t *testing.T) {
	const agents, rate, most = 1000, 50, 47
	st := newStage(t, Options{DialRate: rate}, agents)
	check := func(what string, dials []dial) {
		t.Helper()
		if len(dials) != agents {
			t.Fatalf("%s: got %d dials, want one for each of %d agents", what, len(dials), agents)
		}
		for i := range dials {
			n := 0
			for _, d := range dials[i:] {
				if d.at.Sub(dials[i].at) < time.Second {
					n++
				}
			}
			if n > most {
				t.Fatalf("%s: %d dials within a second, want %d at most", what, n, most)
			}
		}
	}
	pass := func(d time.Duration) { // with turns that come early, after one that was late
		for end := st.clock.Add(d); st.clock.Before(end); {
			st.clock = st.clock.Add(tickEvery * 9 / 10)
			st.fleet.tick()
		}
	}
	pass(36 * time.Second) // this test's jitter puts them all after 10 s, and 1000 take 24
	first := st.dials
	check("first dials", first)
	for _, d := range first {
		d.s.Up(source.Live, st.clock, time.Time{})
	}
	st.dials = nil
	for _, d := range first { // all lost at once
		st.fleet.ended(d.m, d.s, retry.Reasonf("close_1006", "reset"))
	}
	pass(30 * time.Second)
	check("reconnects", st.dials)
}

// TestDialBudgetIsUsed: what a turn of the loop leaves of the budget is not lost, whatever part of a dial that is.
func TestDialBudgetIsUsed(t *testing.T) {
	const most, some = 0.75, 0.7 // with nearly a dial a turn, whole dials and whole turns fit each other worst
	for rate, part := range map[float64]float64{1: most, 7: some, 8: some, 9: some, 10: most, 11: most, 16: most, 17: most, 19: most, 20: most, 21: most, 30: most, 50: most} {
		const seconds = 20
		agents := int(seconds * rate)
		st := newStage(t, Options{DialRate: rate}, agents)
		for _, m := range st.fleet.order {
			m.due = st.clock
		}
		st.pass(seconds * time.Second)
		if got, least := len(st.dials), int(part*float64(agents)); got < least {
			t.Errorf("%g per second: %d dials in %d s, want %d at least", rate, got, seconds, least)
		}
	}
}

func TestBackoffGrowsIsCappedAndForgetsOnlyAfterAHealthySpell(t *testing.T) {
	st := newStage(t, Options{}, 1)
	d, _ := st.dialled()
	fail := func(lived time.Duration) time.Duration {
		t.Helper()
		if lived > 0 {
			d.s.Up(source.Live, st.clock, time.Time{})
			for range lived / time.Second {
				st.pass(time.Second)
				d.s.Beat(source.Live, st.clock)
			}
		}
		st.fleet.ended(d.m, d.s, retry.Reasonf("reset", "reset"))
		var waited time.Duration
		d, waited = st.dialled()
		return waited.Round(100 * time.Millisecond)
	}
	// The jitter of this test is a half: half of 1, 2, 4, 8, 16, 30, 30 s, rounded up to the fleet's tick.
	for i, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 15_000, 15_000} {
		if got, want := fail(0), want*time.Millisecond; got != want {
			t.Errorf("failure %d: waited %v, want %v", i+1, got, want)
		}
	}
	if got, want := fail(59*time.Second), 15*time.Second; got != want {
		t.Errorf("after 59 s of life: waited %v, want %v", got, want)
	}
	if got, want := fail(60*time.Second), 500*time.Millisecond; got != want {
		t.Errorf("after 60 s of life: waited %v, want %v", got, want)
	}
	st.fleet.ended(d.m, d.s, retry.After(retry.Reasonf("upgrade_429", "too many"), 42*time.Second))
	if _, got := st.dialled(); got.Round(100*time.Millisecond) != 42*time.Second {
		t.Errorf("after a Retry-After of 42 s: waited %v", got)
	}
}

func TestRefusedIsRetriedSlowlyAndToldOnce(t *testing.T) {
	st := newStage(t, Options{RefusedRetry: 5 * time.Minute}, 1)
	d, _ := st.dialled()
	for range 3 {
		st.fleet.ended(d.m, d.s, retry.Permanent(retry.Reasonf("upgrade_403", "forbidden")))
		if got := st.Status().Agents[event.SessionStateRefused]; got != 1 {
			t.Errorf("got %d refused agents, want 1", got)
		}
		var waited time.Duration
		if d, waited = st.dialled(); waited < 2*time.Minute || waited > 5*time.Minute {
			t.Errorf("refused agent was tried again after %v, want between half of 5 min and 5 min", waited)
		}
	}
	events := st.told()
	if len(events) != 1 || events[0].Type != event.SessionRefused || events[0].Data.Session.Reason != "upgrade_403" {
		t.Errorf("got %d events, want one session.refused with its reason", len(events))
	}
}

func TestThreeShortClosesByTheVendorLookLikeEviction(t *testing.T) {
	st := newStage(t, Options{}, 1)
	var causes []event.GapCause
	for range 4 {
		d, _ := st.dialled()
		d.s.Up(source.Live, st.clock, time.Time{})
		st.pass(time.Second)
		st.fleet.ended(d.m, d.s, retry.Reasonf("close_1000", "closed"))
		for _, e := range st.told() {
			if e.Data.Gap != nil && e.Data.Gap.State == event.GapOpened {
				causes = append(causes, e.Data.Gap.Cause)
			}
		}
	}
	want := []event.GapCause{event.CauseConnectionLost, event.CauseConnectionLost, event.CauseEvicted, event.CauseEvicted}
	if fmt.Sprint(causes) != fmt.Sprint(want) {
		t.Errorf("got causes %v, want %v", causes, want)
	}
}

func TestUnmappedFramesAreToldUpToAHundredAMinute(t *testing.T) {
	st := newStage(t, Options{}, 1)
	d, _ := st.dialled()
	d.s.Up(source.Live, st.clock, time.Time{})
	st.told()
	for range 250 {
		d.s.Frame(source.Frame{Feed: source.Live, Body: []byte("?"), Received: st.clock})
	}
	ids := map[string]bool{}
	count := func() (events int, frames int64) {
		for _, e := range st.told() {
			ids[e.ID] = true
			events++
			frames += e.Data.Unmapped.Count
		}
		return events, frames
	}
	if events, frames := count(); events != 100 || frames != 100 {
		t.Errorf("at once: got %d events for %d frames, want 100 for 100", events, frames)
	}
	d.s.Beat(source.Live, st.clock)
	for range 3 { // the minute ends without another such frame
		st.pass(20 * time.Second)
		d.s.Beat(source.Live, st.clock)
	}
	if events, frames := count(); events != 1 || frames != 150 {
		t.Errorf("after the minute: got %d events for %d frames, want 1 for the other 150", events, frames)
	}
	if len(ids) != 101 {
		t.Errorf("got %d different ids of 101 events", len(ids))
	}
}

// One who joins a large roster waits as long as the budget needs for her, not for all.
func TestNewcomersAreDialledSoon(t *testing.T) {
	st := newStage(t, Options{DialRate: 10}, 1000)
	st.pass(5 * time.Minute)
	if len(st.dials) != 1000 {
		t.Fatalf("got %d dials, want 1000", len(st.dials))
	}
	roster := []source.Agent{{ID: "new", Source: "toy"}}
	for _, d := range st.dials {
		roster = append(roster, *d.m.Agent)
	}
	if err := st.setRoster(roster); err != nil {
		t.Fatal(err)
	}
	if d, took := st.dialled(); d.m.ID != "new" || took > time.Second {
		t.Errorf("got a dial of %s after %v, want the new agent's within a second", d.m.ID, took)
	}
}

func TestRosterKnowsOnlyConfiguredSources(t *testing.T) {
	st := newStage(t, Options{}, 1)
	err := st.SetRoster(map[string][]source.Agent{"elsewhere": {{ID: "A1"}}})
	if err == nil {
		t.Fatal("got no error for an agent of a source that is not configured")
	}
	if n := len(st.fleet.order); n != 1 {
		t.Errorf("got %d agents after a roster that was refused, want the 1 of before", n)
	}
}

// TestIDsAreNeverMadeTwice: an agent who comes back is met anew, but what the bridge tells of her must not repeat an id: the broker would drop it.
func TestIDsAreNeverMadeTwice(t *testing.T) {
	st := newStage(t, Options{}, 1)
	roster := []source.Agent{{ID: "A0", Source: "toy"}}
	for range 3 {
		d, _ := st.dialled()
		d.s.Up(source.Live, st.clock, time.Time{})
		d.s.Frame(source.Frame{Feed: source.Live, Body: []byte("?"), Received: st.clock})
		if err := st.setRoster(nil); err != nil {
			t.Fatal(err)
		}
		st.fleet.ended(d.m, d.s, errRemoved)
		if err := st.setRoster(roster); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, e := range st.told() {
		if seen[e.ID] {
			t.Errorf("two events have the id %s", e.ID)
		}
		seen[e.ID] = true
	}
	if want := 3 * 3; len(seen) != want { // ready, unmapped, lost
		t.Errorf("got %d events, want %d", len(seen), want)
	}
}

// An agent removed while nothing was received for her has a gap that nobody else would end.
func TestARemovalEndsTheGap(t *testing.T) {
	for _, dialling := range []bool{false, true} {
		t.Run(fmt.Sprintf("dialling=%v", dialling), func(t *testing.T) {
			st := newStage(t, Options{}, 1)
			d, _ := st.dialled()
			d.s.Up(source.Live, st.clock, time.Time{})
			heard := st.clock
			st.fleet.ended(d.m, d.s, retry.Reasonf("reset", "reset"))
			if dialling {
				d, _ = st.dialled()
			}
			st.told()
			if err := st.setRoster(nil); err != nil {
				t.Fatal(err)
			}
			st.pass(time.Second)
			removed := st.clock
			if dialling {
				st.fleet.ended(d.m, d.s, errRemoved)
			} else {
				removed = removed.Add(-time.Second)
			}
			st.pass(time.Minute)
			events := st.told()
			if len(events) != 2 {
				t.Fatalf("got %d records, want the gap's end and the agent's", len(events))
			}
			gap, lost := events[0], events[1]
			if g := gap.Data.Gap; gap.Type != event.SessionGap || g.State != event.GapClosed || g.Result != event.ResultUnrecoverable ||
				g.From != event.InstantOf(heard) || g.To != event.InstantOf(removed) {
				t.Errorf("got %s %+v, want the gap from %v closed at %v, unrecoverable", gap.Type, g, heard, removed)
			}
			if s := gap.Data.Session; s.State != event.SessionStateLost || s.Reason != "removed" {
				t.Errorf("the gap's end says of the session %+v, want lost, removed", s)
			}
			if s := lost.Data.Session; lost.Type != event.SessionLost || s.Reason != "removed" || s.Continuity != "" || lost.Time != event.InstantOf(removed) {
				t.Errorf("got %s at %v with %+v, want session.lost, removed, at %v", lost.Type, lost.Time, s, removed)
			}
			if n := len(st.fleet.order); n != 0 {
				t.Errorf("%d agents are kept after all was told of them", n)
			}
		})
	}
}

// Who comes back at once waits until the log has had room for the end of what was before: a removal stored behind the new session would unsay it.
func TestAReturnWaitsForTheRemovalToBeTold(t *testing.T) {
	st := newStage(t, Options{}, 1)
	full := &fullLog{Log: st.log}
	st.fleet.log = full
	d, _ := st.dialled()
	d.s.Up(source.Live, st.clock, time.Time{})
	st.fleet.ended(d.m, d.s, retry.Reasonf("reset", "reset"))
	st.told()
	full.full = true
	roster := []source.Agent{*d.m.Agent}
	if err := errors.Join(st.setRoster(nil), st.setRoster(roster)); err != nil {
		t.Fatal(err)
	}
	dials := len(st.dials)
	st.pass(time.Minute)
	if n := len(st.dials) - dials; n != 0 || len(st.told()) != 0 {
		t.Fatalf("got %d dials and records while the log is full, want none", n)
	}
	full.full = false
	d, _ = st.dialled()
	d.s.Up(source.Live, st.clock, time.Time{})
	var types []event.Type
	for _, e := range st.told() {
		types = append(types, e.Type)
	}
	if want := []event.Type{event.SessionGap, event.SessionLost, event.SessionReady}; !slices.Equal(types, want) {
		t.Errorf("got %v, want %v", types, want)
	}
}

// fullLog has no room while full is set, not even in its reserve.
type fullLog struct {
	spool.Log
	full bool
}

func (l *fullLog) Append(c spool.Class, e *event.Encoded) (spool.Pos, error) {
	if l.full {
		return 0, spool.ErrFull
	}
	return l.Log.Append(c, e)
}

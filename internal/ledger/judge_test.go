package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

const (
	alice = "WK1"
	bob   = "WK2"
)

// at is a moment of the scripted runs, in seconds.
func at(seconds float64) time.Time {
	return time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

// script is a small run: what was told, what is stored. Tests spoil it.
type script struct {
	bounds  Bounds
	faults  []Fault
	entries []Entry
	landed  []Landed
	end     time.Time
}

func (s *script) judge() Verdict {
	j := NewJudge(s.bounds)
	for _, f := range s.faults {
		j.Fault(f)
	}
	// The judge may be given both sides in any order.
	rnd := rand.New(rand.NewPCG(1, 2))
	entries, landed := slices.Clone(s.entries), slices.Clone(s.landed)
	rnd.Shuffle(len(entries), func(a, b int) { entries[a], entries[b] = entries[b], entries[a] })
	rnd.Shuffle(len(landed), func(a, b int) { landed[a], landed[b] = landed[b], landed[a] })
	for _, l := range landed {
		j.Land(l)
	}
	for _, e := range entries {
		j.Emit(e)
	}
	return j.Verdict(s.end)
}

// tell notes an entry.
func (s *script) tell(t float64, worker, eventType, resource, task string, version int64, stamp string) {
	s.entries = append(s.entries, Entry{
		Seq: int64(len(s.entries)) + 1, At: at(t), Worker: worker, EventType: eventType, Resource: resource, Task: task,
		Version: &version, Stamp: stamp, Delivered: 1,
	})
}

// store notes that an event is stored 5 ms after t.
func (s *script) store(t float64, origin event.Origin, typ event.Type, id, worker, key string) *event.Event {
	e := &event.Event{
		ID: id, Type: typ, Origin: origin, PartitionKey: key, Time: event.InstantOf(at(t)), Recorded: event.InstantOf(at(t)),
		Data: event.Data{Agent: &event.Agent{ID: worker}},
	}
	s.landed = append(s.landed, Landed{Event: e, Stored: at(t).Add(5 * time.Millisecond), Sequence: uint64(len(s.landed)) + 1})
	return e
}

func (s *script) ready(t float64, worker string, c event.Continuity) *event.Event {
	e := s.store(t, event.OriginBridge, event.SessionReady, fmt.Sprintf("%s:ready:%g", worker, t), worker, worker)
	e.Data.Session = &event.Session{State: event.SessionLive, Continuity: c}
	return e
}

func (s *script) lost(t float64, worker, reason string) {
	e := s.store(t, event.OriginBridge, event.SessionLost, fmt.Sprintf("%s:lost:%g", worker, t), worker, worker)
	e.Data.Session = &event.Session{State: event.SessionStateLost, Reason: reason}
}

// gap publishes a gap of the live feed: opened, and closed unless to is 0.
func (s *script) gap(worker string, from, to float64) {
	tell := func(state event.GapState, revision int64, to event.Instant) {
		subject := fmt.Sprintf("%s:gap:live:%g", worker, from)
		e := s.store(from+0.1, event.OriginBridge, event.SessionGap, subject+":"+string(state), worker, worker)
		e.Subject, e.Data.Revision = subject, event.Some(revision)
		e.Data.Gap = &event.Gap{State: state, Feed: "live", From: event.InstantOf(at(from)), To: to, Cause: event.CauseConnectionLost}
	}
	tell(event.GapOpened, 0, 0)
	if to != 0 {
		tell(event.GapClosed, 1, event.InstantOf(at(to)))
	}
}

func (s *script) find(id string) *Landed {
	for i := range s.landed {
		if s.landed[i].Event.ID == id {
			return &s.landed[i]
		}
	}
	panic("no stored event " + id)
}

func (s *script) drop(ids ...string) {
	for _, id := range ids {
		s.find(id)
		s.landed = slices.DeleteFunc(s.landed, func(l Landed) bool { return l.Event.ID == id })
	}
}

func (s *script) again(id string) {
	l := *s.find(id)
	l.Sequence = uint64(len(s.landed)) + 100
	s.landed = append(s.landed, l)
}

func (s *script) swap(a, b string) {
	x, y := s.find(a), s.find(b)
	x.Sequence, y.Sequence = y.Sequence, x.Sequence
}

// story is a run in which all is well, 40 s long: two agents ready at 1 s; alice loses her connection from 20 s to 30 s.
func story() *script {
	s := &script{
		bounds: Bounds{Rate: 0.3, Duration: 39 * time.Second, Sessions: 2, SilenceLimit: 3 * time.Second, DialBudget: 2},
		faults: []Fault{{Sessions: 1}}, end: at(40),
	}
	// The initial state: before coverage, told by the snapshot.
	s.tell(0, alice, "worker.activity.update", alice, "", 1, "100:WA1")
	s.tell(0, bob, "worker.activity.update", bob, "", 1, "100:WA1")
	s.ready(1, alice, event.ContinuityUnknown)
	s.ready(1, bob, event.ContinuityUnknown)
	s.store(1.1, event.OriginSnapshot, event.AgentActivityChanged, "WK1:activity_changed:100:WA1", alice, alice)
	s.store(1.1, event.OriginSnapshot, event.AgentActivityChanged, "WK2:activity_changed:100:WA1", bob, bob)

	s.tell(5, alice, "reservation.created", "WR1", "WT1", 0, "0")
	s.store(5, event.OriginSocket, event.ReservationCreated, "WR1:created", alice, "WT1")
	s.tell(6, alice, "reservation.accepted", "WR1", "WT1", 1, "106")
	s.store(6, event.OriginSocket, event.ReservationAccepted, "WR1:accepted", alice, "WT1")
	s.tell(7, alice, "worker.attributes.update", alice, "", 2, "107")
	s.store(7, event.OriginSocket, event.AgentAttributesChanged, "WK1:attributes_changed:2", alice, alice)
	s.tell(8, bob, "reservation.created", "WR2", "WT1", 0, "0")
	s.store(8, event.OriginSocket, event.ReservationCreated, "WR2:created", bob, "WT1")

	// One fact, two workers: stored once, from bob's socket.
	s.tell(10, alice, "task.updated", "WT1", "WT1", 3, "110")
	s.tell(10, bob, "task.updated", "WT1", "WT1", 3, "110")
	s.store(10, event.OriginSocket, event.TaskUpdated, "WT1:updated:3", bob, "WT1")

	s.gap(alice, 20, 30)
	s.tell(24, alice, "reservation.wrapup", "WR1", "WT1", 2, "124") // hidden by the gap
	s.tell(25, alice, "task.completed", "WT1", "WT1", 4, "125")     // hidden from alice only
	s.tell(25, bob, "task.completed", "WT1", "WT1", 4, "125")
	s.store(25, event.OriginSocket, event.TaskCompleted, "WT1:completed", bob, "WT1")
	s.tell(26, bob, "reservation.completed", "WR2", "WT1", 1, "126")
	s.store(26, event.OriginSocket, event.ReservationCompleted, "WR2:completed", bob, "WT1")
	s.ready(30, alice, event.ContinuityGap)
	s.tell(35, alice, "worker.activity.update", alice, "", 3, "135:WA2")
	s.store(35, event.OriginSocket, event.AgentActivityChanged, "WK1:activity_changed:135:WA2", alice, alice)
	s.tell(36, bob, "worker.capacity.update", "WC7", "", 2, "136")
	s.store(36, event.OriginSocket, event.AgentCapacityChanged, "WC7:capacity_changed:2", bob, bob)
	return s
}

func TestVerdictOfAGoodRun(t *testing.T) {
	v := story().judge()
	if err := v.Err(); err != nil {
		t.Fatalf("a run in which all is well: %v", err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	// 16 stored in 35 s, all 5 ms after they were told.
	want := `{"emitted":10,"landed":9,"missing":0,"duplicates":0,"out_of_order":0,"invented":0,"gaps":1,"gap_seconds":10,` +
		`"events_per_second":0.457,"p50_ms":5,"p99_ms":5}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

// Every rule, once kept and once broken.
func TestRules(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*script)
		want   string // in the error, empty: the run passes
	}{
		"dropped":                                {func(s *script) { s.drop("WR1:accepted") }, "facts missing outside every gap: 1\n  WR1:accepted (agent WK1): seq 4"},
		"dropped for two":                        {func(s *script) { s.drop("WT1:updated:3") }, "facts missing outside every gap: 1\n  WT1:updated:3 (agent WK2)"},
		"dropped from two, one of them in a gap": {func(s *script) { s.drop("WT1:completed") }, "WT1:completed (agent WK2)"},
		"never written to a socket": {func(s *script) {
			s.drop("WR1:accepted")
			s.entries[3].Delivered = 0
		}, "written to 0 sockets"},
		"stored twice":           {func(s *script) { s.again("WR1:accepted") }, "events stored more than once: 1\n  WR1:accepted"},
		"own event stored twice": {func(s *script) { s.again("WK1:ready:30") }, "events stored more than once: 1\n  WK1:ready:30"},

		"swapped":               {func(s *script) { s.swap("WR1:created", "WR1:accepted") }, "events out of order: 1\n  WR1:created (agent WK1): seq 3 of key WT1"},
		"swapped across keys":   {func(s *script) { s.swap("WR1:accepted", "WK1:attributes_changed:2") }, ""},
		"swapped across agents": {func(s *script) { s.swap("WR1:accepted", "WR2:created") }, ""},
		"swapped, one of a snapshot": {func(s *script) {
			s.swap("WR1:created", "WR1:accepted")
			s.find("WR1:created").Event.Origin = event.OriginSnapshot
		}, ""},
		"created made up before accepted": {func(s *script) { s.find("WR1:created").Event.Time = event.InstantOf(at(6)) }, ""},
		"order by agent": {func(s *script) {
			for _, l := range s.landed {
				l.Event.PartitionKey = l.Event.Data.Agent.ID
			}
		}, ""},
		"swapped with order by agent": {func(s *script) {
			for _, l := range s.landed {
				l.Event.PartitionKey = l.Event.Data.Agent.ID
			}
			s.swap("WR1:accepted", "WK1:attributes_changed:2")
		}, "events out of order: 1"},

		"invented": {func(s *script) {
			s.store(12, event.OriginSocket, event.ReservationAccepted, "WR9:accepted", alice, "WT9")
		}, "events stored that were not told so: 1\n  WR9:accepted"},
		"invented by a snapshot": {func(s *script) {
			s.store(12, event.OriginSnapshot, event.ReservationAccepted, "WR9:accepted", alice, "WT9")
		}, "events stored that were not told so: 1"},
		"the bridge's own": {func(s *script) {
			s.store(12, event.OriginBridge, event.BridgeUnmapped, "WK1:unmapped:1", alice, alice)
		}, ""},
		"another type":  {func(s *script) { s.find("WR1:accepted").Event.Type = event.ReservationRejected }, "stored as reservation.rejected, told as reservation.accepted"},
		"another key":   {func(s *script) { s.find("WR1:accepted").Event.PartitionKey = "WT2" }, `stored under partition key "WT2"`},
		"another agent": {func(s *script) { s.find("WR1:accepted").Event.Data.Agent.ID = bob }, `stored for agent "WK2", who was not told`},

		"gap of the wrong agent": {func(s *script) {
			for _, l := range s.landed {
				if l.Event.Type == event.SessionGap {
					l.Event.Data.Agent.ID = bob
				}
			}
		}, "WR1:wrapping"},
		"gap of another feed": {func(s *script) {
			for _, l := range s.landed {
				if l.Event.Type == event.SessionGap {
					l.Event.Data.Gap.Feed = "state"
				}
			}
		}, "WR1:wrapping"},
		"no gap published":   {func(s *script) { s.drop("WK1:gap:live:20:opened", "WK1:gap:live:20:closed") }, "WR1:wrapping"},
		"1 s before the gap": {func(s *script) { s.entries[8].At = at(19) }, ""},
		"more before it":     {func(s *script) { s.entries[8].At = at(18.999) }, "WR1:wrapping"},
		"1 s after the gap":  {func(s *script) { s.entries[8].At = at(31) }, ""},
		"more after it":      {func(s *script) { s.entries[8].At = at(31.001) }, "WR1:wrapping"},
		"landed all the same": {func(s *script) {
			s.store(24, event.OriginSnapshot, event.ReservationWrapping, "WR1:wrapping", alice, "WT1")
		}, ""},

		"opened, never closed: to the next ready": {func(s *script) { s.drop("WK1:gap:live:20:closed") }, ""},
		"opened, never closed: and lost after it": {func(s *script) {
			s.drop("WK1:gap:live:20:closed", "WK1:activity_changed:135:WA2")
		}, "WK1:activity_changed:135:WA2"},
		"opened, never closed, no ready: to the end": {func(s *script) {
			s.drop("WK1:gap:live:20:closed", "WK1:ready:30", "WK1:activity_changed:135:WA2")
			s.faults[0].Lasted = 10 * time.Second
		}, ""},

		"gap as long as explained": {func(s *script) { s.bounds.SilenceLimit, s.bounds.DialBudget = 0, 0 }, ""},
		"gap too long":             {func(s *script) { s.gap(bob, 36, 40); s.gap(bob, 37, 40); s.gap(alice, 37, 38) }, "gaps: 4 of 15.0 s together, the faults explain 14.0 s"},
		"gap without a fault":      {func(s *script) { s.faults = nil }, "gaps: 1 of 10.0 s together, the faults explain 0.0 s"},
		"longer fault": {func(s *script) {
			s.gap(bob, 36.5, 40)
			s.gap(alice, 36, 38)
			s.faults[0].Lasted = 2 * time.Second
		}, ""},
		"a gap counts to the end": {func(s *script) { s.gap(bob, 36.5, 60) }, ""},
		"a gap from nowhere": {func(s *script) {
			s.gap(bob, 36, 37)
			for _, l := range s.landed {
				if strings.HasPrefix(l.Event.ID, "WK2:gap") {
					l.Event.Data.Gap.From = 0
				}
			}
			s.drop("WR2:created")
		}, "WR2:created"},
		"a gap told twice counts once": {func(s *script) {
			s.gap(alice, 21, 29)
			s.bounds.SilenceLimit, s.bounds.DialBudget = 0, 0
		}, ""},
		"a gap told of all sessions": {func(s *script) {
			s.faults = []Fault{{}}
			s.gap(bob, 27, 40)
		}, ""},

		"not covered before the first ready": {func(s *script) { s.drop("WK1:activity_changed:100:WA1") }, ""},
		"covered from the first ready": {func(s *script) {
			s.drop("WK1:activity_changed:100:WA1")
			s.entries[0].At = at(1.002)
		}, "WK1:activity_changed:100:WA1"},
		"within the millisecond of ready": {func(s *script) {
			s.drop("WK1:activity_changed:100:WA1")
			s.entries[0].At = at(1.0009)
		}, ""},
		"removed": {func(s *script) {
			s.lost(27, bob, "removed")
			s.drop("WC7:capacity_changed:2")
		}, ""},
		"lost is not removed": {func(s *script) {
			s.lost(27, bob, "close_1001")
			s.drop("WC7:capacity_changed:2")
		}, "WC7:capacity_changed:2"},
		"covered until shortly before the removal": {func(s *script) {
			s.lost(27.01, bob, "removed")
			s.drop("WR2:completed", "WC7:capacity_changed:2")
		}, "WR2:completed"},
		"told within a second before the removal": {func(s *script) {
			s.lost(26.9, bob, "removed")
			s.drop("WR2:completed", "WC7:capacity_changed:2")
			s.bounds.Rate = 0
		}, ""},
		"removed in a gap": {func(s *script) {
			s.gap(alice, 37, 0)
			s.lost(38, alice, "removed")
			s.end = at(100)
		}, ""},
		"removed and added again": {func(s *script) {
			s.lost(27, bob, "removed")
			s.ready(37, bob, event.ContinuityUnknown)
			s.drop("WC7:capacity_changed:2")
		}, ""},
		"covered again": {func(s *script) {
			s.lost(27, bob, "removed")
			s.ready(35, bob, event.ContinuityUnknown)
			s.drop("WC7:capacity_changed:2")
		}, "WC7:capacity_changed:2"},
		"told after the end": {func(s *script) {
			s.drop("WC7:capacity_changed:2")
			s.end = at(35.5)
		}, ""},

		// bob's bridge was killed at 30 s and forgot him; the last that it stored of him was recorded at 26 s.
		"forgotten": {func(s *script) {
			s.drop("WC7:capacity_changed:2")
			s.ready(37, bob, event.ContinuityUnknown)
			s.faults = append(s.faults, Fault{Sessions: 1})
		}, ""},
		"forgotten, but lost before that": {func(s *script) {
			s.drop("WC7:capacity_changed:2", "WR2:created")
			s.ready(37, bob, event.ContinuityUnknown)
			s.faults = append(s.faults, Fault{Sessions: 1})
		}, "WR2:created"},
		"forgotten, the proof is not from a socket": {func(s *script) {
			s.drop("WC7:capacity_changed:2")
			s.tell(28, bob, "worker.attributes.update", bob, "", 5, "128")
			s.store(38.5, event.OriginBackfill, event.AgentAttributesChanged, "WK2:attributes_changed:5", bob, bob)
			s.ready(39, bob, event.ContinuityUnknown)
			s.faults = append(s.faults, Fault{Sessions: 1})
		}, ""},
		"forgotten soon after being added again": {func(s *script) {
			s.lost(27, bob, "removed")
			s.ready(35, bob, event.ContinuityUnknown)
			s.drop("WC7:capacity_changed:2")
			s.ready(36.5, bob, event.ContinuityUnknown) // 1.5 s that faults must explain, not 10.5 s
		}, ""},
		"forgotten without a fault": {func(s *script) {
			s.ready(37, bob, event.ContinuityUnknown)
			s.ready(39, alice, event.ContinuityUnknown)
		}, "gaps: 1 of 15.0 s together, the faults explain 14.0 s"},
		"renewed": {func(s *script) { s.ready(37, bob, event.Continuous) }, ""},

		"too little told":   {func(s *script) { s.bounds.Rate = 0.4 }, "entries told to covered workers: 12, want at least 14"},
		"nothing told":      {func(s *script) { s.entries, s.landed = nil, nil; s.bounds = Bounds{} }, "never none"},
		"nobody ever ready": {func(s *script) { s.drop("WK1:ready:1", "WK2:ready:1", "WK1:ready:30") }, "sessions that became ready: 0, want 2"},
		"one never ready":   {func(s *script) { s.drop("WK2:ready:1"); s.bounds.Rate = 0 }, "sessions that became ready: 1, want 2"},

		"unknown entry":   {func(s *script) { s.tell(12, alice, "worker.deleted", alice, "", 9, "112") }, `event_type "worker.deleted" is not in the judge's table`},
		"ambiguous entry": {func(s *script) { s.tell(12, alice, "reservation.created", "WR1", "WT1", 0, "0") }, "two entries make one id"},
	} {
		t.Run(name, func(t *testing.T) {
			s := story()
			tc.change(s)
			v := s.judge()
			err := v.Err()
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// One broken rule is told alone: a missing event is not at the same time out of order.
func TestRulesDoNotOverlap(t *testing.T) {
	for name, change := range map[string]func(*script){
		"missing":      func(s *script) { s.drop("WR1:accepted") },
		"duplicates":   func(s *script) { s.again("WR1:accepted") },
		"out_of_order": func(s *script) { s.swap("WR1:created", "WR1:accepted") },
		"invented": func(s *script) {
			s.store(12, event.OriginSocket, event.ReservationAccepted, "WR9:accepted", alice, "WT1")
		},
	} {
		s := story()
		change(s)
		v := s.judge()
		got := map[string]int{"missing": v.Missing, "duplicates": v.Duplicates, "out_of_order": v.OutOfOrder, "invented": v.Invented}
		want := map[string]int{"missing": 0, "duplicates": 0, "out_of_order": 0, "invented": 0}
		want[name] = 1
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A ledger that is read again while it grows: entries replace what was known of them.
func TestEmitAgain(t *testing.T) {
	s := story()
	s.drop("WR1:accepted")
	j := NewJudge(Bounds{})
	for _, l := range s.landed {
		j.Land(l)
	}
	early := s.entries[3]
	early.At, early.Delivered = at(22), 0 // in the gap, as long as it was not written
	j.Emit(early)
	if v := j.Verdict(s.end); v.Missing != 0 || v.Emitted != 1 {
		t.Errorf("before: got missing %d of %d, want 0 of 1", v.Missing, v.Emitted)
	}
	j.Emit(s.entries[3])
	if v := j.Verdict(s.end); v.Missing != 1 || v.Emitted != 1 {
		t.Errorf("after: got missing %d of %d, want 1 of 1", v.Missing, v.Emitted)
	}
}

func TestQuantiles(t *testing.T) {
	s := story()
	for i := range 200 {
		id := fmt.Sprintf("WR%d", 1000+i)
		s.tell(11, bob, "reservation.created", id, "WT"+id, 0, "0")
		s.store(11, event.OriginSocket, event.ReservationCreated, id+":created", bob, "WT"+id)
		s.landed[len(s.landed)-1].Stored = at(11).Add(time.Duration(i+1) * time.Millisecond)
	}
	v := s.judge()
	// 208 latencies: 8 of 5 ms among 1 … 200 ms; the 104th is 96 ms, the 206th 198 ms.
	if v.P50MS != 96 || v.P99MS != 198 {
		t.Errorf("got p50 %g ms, p99 %g ms, want 96 and 198", v.P50MS, v.P99MS)
	}
}

func TestFindingsAreFew(t *testing.T) {
	s := story()
	for i := range 1000 {
		s.tell(11, bob, "reservation.created", fmt.Sprintf("WR%d", 1000+i), "WT1", 0, "0")
	}
	v := s.judge()
	if v.Missing != 1000 || len(v.Findings) != findingsPerRule {
		t.Errorf("got %d missing and %d findings, want 1000 and %d", v.Missing, len(v.Findings), findingsPerRule)
	}
	if want := "WR1000:created"; v.Findings[0].ID != want {
		t.Errorf("first finding: got %s, want %s", v.Findings[0].ID, want)
	}
}

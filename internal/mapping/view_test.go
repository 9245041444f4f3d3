package mapping

import (
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

const minute = event.Instant(time.Minute / time.Millisecond)

// reservationEvent is what a mapper would tell, reduced to what a view looks at.
func reservationEvent(t event.Type, s event.ReservationStatus, revision int64, recorded event.Instant) *event.Event {
	return &event.Event{
		ID: "WR1:" + t.Verb(), Type: t, Subject: "WR1", Time: recorded, TimeSource: event.TimeVendor, Recorded: recorded,
		Data: event.Data{
			Revision:    event.Some(revision),
			Agent:       &event.Agent{ID: "WK1"},
			Task:        &event.Task{ID: "WT1", ChainID: "WT1"},
			Reservation: &event.Reservation{ID: "WR1", Status: s, UpdatedAt: recorded},
		},
	}
}

func activityEvent(id, activity string, since event.Instant, revision event.Null[int64], recorded event.Instant) *event.Event {
	return &event.Event{
		ID: id, Type: event.AgentActivityChanged, Subject: "WK1", Recorded: recorded,
		Data: event.Data{Revision: revision, Agent: &event.Agent{ID: "WK1", Name: "alice", ActivityID: activity, ActivitySince: since}},
	}
}

func capacityEvent(id string, revision int64, recorded event.Instant) *event.Event {
	return &event.Event{
		ID: id, Type: event.AgentCapacityChanged, Subject: "WC1", Recorded: recorded,
		Data: event.Data{Revision: event.Some(revision), Agent: &event.Agent{ID: "WK1"}, Channel: &event.Channel{ID: "WC1"}},
	}
}

func taskEvent(id string, recorded event.Instant) *event.Event {
	return &event.Event{
		ID: id, Type: event.TaskUpdated, Recorded: recorded, Data: event.Data{Agent: &event.Agent{ID: "WK1"}, Task: &event.Task{ID: "WT1"}},
	}
}

func gapEvent(state event.GapState, result event.GapResult, recorded event.Instant) *event.Event {
	return &event.Event{
		Type: event.SessionGap, Subject: GapSubject("WK1", "live", 7), Recorded: recorded,
		Data: event.Data{Agent: &event.Agent{ID: "WK1"}, Gap: &event.Gap{State: state, Feed: "live", Result: result}},
	}
}

func checkTold(t *testing.T, v *View, want bool, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if got := v.Told(id); got != want {
			t.Errorf("Told(%q): got %t, want %t", id, got, want)
		}
	}
}

func TestViewForgetsWhatIsOver(t *testing.T) {
	const start = 1000 * minute
	v := NewView(alice)
	v.Apply(taskEvent("WT1:updated:1", start))
	v.Apply(reservationEvent(event.ReservationCreated, event.ReservationPending, 0, start))
	v.Apply(activityEvent("WK1:activity_changed:1:WA1", "WA1", 1, event.Some[int64](1), start))
	v.Apply(capacityEvent("WC1:capacity_changed:1", 1, start))
	kept := []string{"WR1:created", "WK1:activity_changed:1:WA1", "WC1:capacity_changed:1"}

	v.Apply(taskEvent("WT1:updated:2", start+Memory))
	checkTold(t, v, true, append(kept, "WT1:updated:1", "WT1:updated:2")...)

	v.Apply(taskEvent("WT1:updated:3", start+Memory+minute))
	checkTold(t, v, false, "WT1:updated:1")
	checkTold(t, v, true, append(kept, "WT1:updated:2")...)

	// What kept them is over: they go at the next sweep.
	v.Apply(reservationEvent(event.ReservationCompleted, event.ReservationStatusCompleted, 3, start+Memory+2*minute))
	v.Apply(activityEvent("WK1:activity_changed:2:WA2", "WA2", 2, event.Some[int64](2), start+Memory+2*minute))
	v.Apply(capacityEvent("WC1:capacity_changed:2", 2, start+Memory+2*minute))
	v.Apply(taskEvent("WT1:updated:4", start+Memory+3*minute))
	checkTold(t, v, false, kept[1:]...)
	checkTold(t, v, true, "WR1:created", "WR1:completed", // of one subject, so they go together
		"WK1:activity_changed:2:WA2", "WC1:capacity_changed:2")
	if !v.Ended("WR1") {
		t.Error("Ended after the end was told: got false")
	}
}

// Back-fill of a gap may bring anything that was told before it: until it is settled nothing is forgotten.
func TestViewForgetsNothingWhileAGapIsUnsettled(t *testing.T) {
	const start = 1000 * minute
	v := NewView(alice)
	v.Apply(taskEvent("WT1:updated:1", start))
	v.Apply(gapEvent(event.GapOpened, "", start))
	v.Apply(taskEvent("WT1:updated:2", start+10*Memory))
	checkTold(t, v, true, "WT1:updated:1")
	if v.OpenGap("live") == nil || v.OpenGap("state") != nil {
		t.Errorf("open gaps: got %v and %v, want one of live", v.OpenGap("live"), v.OpenGap("state"))
	}
	v.Apply(gapEvent(event.GapClosed, event.ResultPending, start+10*Memory))
	v.Apply(taskEvent("WT1:updated:3", start+20*Memory))
	checkTold(t, v, true, "WT1:updated:1")
	if v.OpenGap("live") != nil {
		t.Error("a closed gap is open")
	}
	v.Apply(gapEvent(event.GapSettled, event.ResultRecovered, start+20*Memory))
	v.Apply(taskEvent("WT1:updated:4", start+20*Memory+minute))
	checkTold(t, v, false, "WT1:updated:1", "WT1:updated:2")
	if len(v.Gaps) != 0 || v.LastGap != 7 {
		t.Errorf("after settling: got gaps %v and last %d, want none and 7", v.Gaps, v.LastGap)
	}
}

func TestViewNeverGoesBack(t *testing.T) {
	v := NewView(alice)
	v.Apply(activityEvent("a", "WA2", 20, event.Some[int64](17), 1))
	for name, e := range map[string]*event.Event{
		"a lower revision":               activityEvent("b", "WA1", 20, event.Some[int64](16), 2),
		"an earlier change, no revision": activityEvent("c", "WA1", 19, event.Null[int64]{}, 3),
	} {
		v.Apply(e)
		if v.Activity.ID != "WA2" {
			t.Errorf("activity after %s: got %s, want WA2", name, v.Activity.ID)
		}
	}
	v.Apply(capacityEvent("d", 5, 4))
	v.Apply(capacityEvent("e", 4, 5))
	if got := v.Channels["WC1"].EventID; got != "d" {
		t.Errorf("channel after a lower revision: got the state of event %s, want d", got)
	}
	v.Apply(reservationEvent(event.ReservationWrapping, event.ReservationStatusWrapping, 2, 60))
	v.Apply(reservationEvent(event.ReservationAccepted, event.ReservationStatusAccepted, 1, 70))
	r := v.Reservations["WR1"]
	if r.Status != event.ReservationStatusWrapping || r.Revision.V != 2 {
		t.Errorf("reservation after a lower revision: got %s at %d, want wrapping at 2", r.Status, r.Revision.V)
	}
	if r.Told != 60 || r.Accepted != 70 || r.Wraps != 60 {
		t.Errorf("what the lower revision adds: got told %d, accepted %d, wraps %d, want 60, 70, 60", r.Told, r.Accepted, r.Wraps)
	}
}

func TestViewEndedStaysEnded(t *testing.T) {
	for _, end := range []event.Type{
		event.ReservationRejected, event.ReservationTimedOut, event.ReservationCanceled, event.ReservationRescinded, event.ReservationCompleted,
		event.ReservationEndedUnseen,
	} {
		t.Run(end.Verb(), func(t *testing.T) {
			v := NewView(alice)
			v.Apply(reservationEvent(event.ReservationCreated, event.ReservationPending, 0, 1))
			// The status may be a word that is not known; the type says that it ended.
			v.Apply(reservationEvent(end, event.ReservationStatusOther, 2, 2))
			v.Apply(reservationEvent(event.ReservationAccepted, event.ReservationStatusAccepted, 3, 3))
			if len(v.Reservations) != 0 || !v.Ended("WR1") {
				t.Errorf("got open %v, ended %t, want none, true", v.Reservations, v.Ended("WR1"))
			}
		})
	}
}

// It is asked for each reservation that opens, and nearly always in vain.
func TestViewEndedMakesNoText(t *testing.T) {
	v := NewView(alice)
	e := reservationEvent(event.ReservationEndedUnseen, event.ReservationStatusUnknown, 2, 1)
	e.Data.Reservation.ID = "WR00000000000000000000000000000001"
	e.ID = e.Data.Reservation.ID + ":" + e.Type.Verb()
	v.Apply(e)
	allocs := testing.AllocsPerRun(100, func() {
		if v.Ended("WR00000000000000000000000000000002") || !v.Ended("WR00000000000000000000000000000001") {
			t.Error("Ended: got the other of two")
		}
	})
	if allocs > 0 {
		t.Errorf("Ended: got %g allocations, want 0", allocs)
	}
}

// A reservation of an unknown status is open as long as no event ends it.
func TestViewUnknownStatusStaysOpen(t *testing.T) {
	v := NewView(alice)
	v.Apply(reservationEvent(event.ReservationAccepted, event.ReservationStatusOther, 1, 1))
	if v.Reservations["WR1"] == nil {
		t.Error("a reservation accepted with an unknown status is not open")
	}
}

func TestViewKnowsWhenTheAgentWasMet(t *testing.T) {
	v := NewView(alice)
	v.Apply(reservationEvent(event.ReservationCreated, event.ReservationPending, 0, 1))
	if v.Met {
		t.Error("met before session.ready")
	}
	v.Apply(&event.Event{Type: event.SessionReady, Recorded: 2, Data: event.Data{Agent: &event.Agent{ID: "WK1"}}})
	if !v.Met {
		t.Error("not met after session.ready")
	}
	v = NewView(alice) // of what is left of a log
	v.Apply(gapEvent(event.GapOpened, "", 1))
	if !v.Met {
		t.Error("not met although a gap was told")
	}
}

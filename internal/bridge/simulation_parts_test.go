package bridge

import (
	"strconv"
	"strings"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
)

// toyMapper maps "<noun> <verb> <resource> <task> <revision>", and "state" followed by the open reservations.
type toyMapper struct{ w *world }

var toyStatus = map[string]event.ReservationStatus{
	"created": event.ReservationPending, "accepted": event.ReservationStatusAccepted, "rejected": event.ReservationStatusRejected,
	"wrapping": event.ReservationStatusWrapping, "completed": event.ReservationStatusCompleted, "ended_unseen": event.ReservationStatusUnknown,
}

func (t toyMapper) Map(v *mapping.View, f source.Frame, emit func(*event.Event) error) mapping.Outcome {
	emit = lending(emit)
	outcome := mapping.Repeat
	news := func(e *event.Event) bool {
		told := v.Told(e.ID) && !t.w.forget
		if t.w.currentOnly && e.Type == event.AgentActivityChanged {
			told = e.ID == v.Activity.EventID
		}
		if told {
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

// lending spoils each event when emit has returned, as a mapper does that makes the next one in its place.
func lending(emit func(*event.Event) error) func(*event.Event) error {
	return func(e *event.Event) error {
		err := emit(e)
		if e.Data.Reservation != nil {
			*e.Data.Reservation = event.Reservation{}
		}
		if e.Data.Unmapped != nil {
			*e.Data.Unmapped = event.Unmapped{}
		}
		*e.Data.Agent, *e = event.Agent{}, event.Event{}
		return err
	}
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
	switch t.Noun() {
	case "task":
		e.ID += ":" + rev
	case "agent":
		e.ID += ":" + rev
		e.PartitionKey = id
		e.Data.Task, e.Data.Agent.ActivityID, e.Data.Agent.ActivitySince = nil, rev, event.Instant(n)
	default:
		e.Data.Reservation = &event.Reservation{ID: id, Status: toyStatus[t.Verb()]}
	}
	return e
}

package mapping

import (
	"maps"
	"slices"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
	"github.com/taskbridge/taskbridge/internal/source"
)

func (c *call) fromSnapshot() bool { return c.feed == source.State }

// state tells what a snapshot shows that was not told: the activity, the reservations, the channels; attributes and tasks never, because whether
// they changed cannot be seen. What cannot be mapped does not keep the rest back: why is the first such reason.
func (c *call) state(doc document.Value) (why reason) {
	var worker, reservations, channels document.Value
	for name, v := range doc.Members() {
		switch name {
		case "worker":
			worker = v
		case "reservations":
			reservations = v
		case "channels":
			channels = v
		}
	}
	part := func(w reason) reason {
		if why == "" {
			why = w
		}
		return w
	}
	if part(c.worker(event.AgentActivityChanged, worker)) == otherAgent {
		return why // then nothing in it is hers
	}
	if reservations.Kind() != document.Array {
		part(missingField)
	} else {
		seen, all := map[string]bool{}, true
		for o := range reservations.Items() {
			r := c.dialect.reservation(o)
			seen[r.id] = true
			all = part(c.shown(&r, o)) == "" && all
		}
		if all {
			c.vanished(seen)
		}
	}
	if channels.Kind() == document.Array {
		for o := range channels.Items() {
			part(c.channel(event.AgentCapacityChanged, o))
		}
	}
	return why
}

// shown tells of one reservation in a snapshot: its creation, then its current status, never the steps between.
func (c *call) shown(r *reservationObject, o document.Value) reason {
	if why := c.checkReservation(r); why != "" {
		return why
	}
	t := currentVerb(r.status)
	switch {
	case t == "":
		return badValue
	case c.view.Ended(r.id): // read before the end that the socket has told
		return ""
	case t == event.ReservationCreated:
		c.createdFirst(r, o)
		return ""
	}
	return c.reservation(t, o)
}

// vanished finds the reservations that were told before the snapshot was asked for, are open, and are not in it: they ended, nobody saw how.
func (c *call) vanished(seen map[string]bool) {
	for _, id := range slices.Sorted(maps.Keys(c.view.Reservations)) {
		r := c.view.Reservations[id]
		if seen[id] || r.Told >= c.received {
			continue
		}
		t := event.ReservationEndedUnseen
		e := c.begin(id+":"+t.Verb(), t, id, r.Chain)
		e.Origin = event.OriginBridge
		if r.Revision.OK {
			e.Data.Revision = event.Some(r.Revision.V + 1)
		}
		e.task = event.Task{ID: r.Task, ChainID: r.Chain}
		e.reservation = event.Reservation{ID: id, Status: event.ReservationStatusUnknown, CreatedAt: r.Created}
		e.timing = event.Timing{RingMS: span(r.Offered, r.Accepted), HandleMS: span(r.Accepted, r.Wraps)}
		e.Data.Task, e.Data.Reservation, e.Data.Timing = &e.task, &e.reservation, &e.timing
		c.tell(e)
	}
}

package mapping

import (
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// reservation tells what became of a reservation.
func (c *call) reservation(t event.Type, o document.Value) reason {
	r := c.dialect.reservation(o)
	if why := c.checkReservation(&r); why != "" {
		return why
	}
	id := r.id + ":" + t.Verb()
	if c.view.Told(id) {
		return ""
	}
	if t != event.ReservationCreated {
		c.createdFirst(&r, o)
	}
	e := c.beginReservation(id, t, &r)
	e.Data.Revision = r.version
	c.date(e, &r)
	if t == event.ReservationCreated {
		e.at(r.created)
	}
	c.measure(e, &r)
	c.raw(e, o)
	c.tell(e)
	return ""
}

func (c *call) checkReservation(r *reservationObject) reason {
	if why := checkIDs(r.id, r.task.id); why != "" {
		return why
	}
	if r.worker != "" && r.worker != c.view.Agent.ID {
		return otherAgent
	}
	return ""
}

// createdFirst tells that the reservation was created, where that was never told: a later message shows it as well. It holds for every later
// verb, so that a consumer finds each reservation begun. The fact is read off a state like a snapshot's, hence that origin: what came between
// the creation and this message may have been told already, and the order promise covers only origin socket.
func (c *call) createdFirst(r *reservationObject, o document.Value) {
	if c.view.Reservations[r.id] != nil {
		return
	}
	id := r.id + ":" + event.ReservationCreated.Verb()
	if c.view.Told(id) || c.view.Ended(r.id) {
		return
	}
	e := c.beginReservation(id, event.ReservationCreated, r)
	e.Origin = event.OriginSnapshot
	if r.created != 0 {
		e.at(r.created)
	} else { // not after the fact that shows it: a consumer without revisions would drop that one as the older
		c.date(e, r)
		if e.TimeSource == event.TimeVendor {
			e.TimeSource = event.TimeDerived
		}
	}
	if r.version.OK { // versions begin at 0
		e.Data.Revision = event.Some[int64](0)
	}
	if currentVerb(r.status) != event.ReservationCreated {
		e.forget()
	}
	c.measure(e, r)
	c.raw(e, o)
	c.tell(e)
}

// forget takes out what was not yet so, or is not known to have been, when the reservation was created.
func (e *telling) forget() {
	r := &e.reservation
	r.Status, r.StatusRaw, r.ReasonCode, r.UpdatedAt = event.ReservationPending, "", event.Null[int64]{}, 0
	e.task.Status, e.task.StatusRaw, e.task.ReasonRaw, e.task.Revision = "", "", "", event.Null[int64]{}
	e.transfer.Status, e.transfer.StatusRaw, e.transfer.ReasonRaw = "", "", ""
}

// beginReservation begins an event with the blocks that every reservation event has, as the message shows them.
func (c *call) beginReservation(id string, t event.Type, r *reservationObject) *telling {
	e := c.begin(id, t, r.id, r.task.id)
	e.agent.Name = c.policy.agentName(r.workerName, c.view.Name)
	c.setTask(e, &r.task)
	e.reservation = event.Reservation{
		ID: r.id, Status: reservationStatus(r.status, t), StatusRaw: r.status, ReasonCode: r.reasonCode, TimeoutMS: r.timeoutMS,
		CreatedAt: r.created, UpdatedAt: r.updated,
	}
	e.Data.Reservation, e.Data.Timing = &e.reservation, &e.timing
	switch { // an agent who was given a task may hand it on: what goes on now says more, but the creation has only the one that led to it
	case r.outgoing.id != "" && t != event.ReservationCreated:
		c.setTransfer(e, &r.outgoing)
	case r.incoming.id != "":
		c.setTransfer(e, &r.incoming)
	}
	return e
}

// date sets the time of what the message tells.
func (c *call) date(e *telling, r *reservationObject) {
	if !c.fromSnapshot() {
		e.derive(&r.task)
	}
	e.at(r.updated)
}

// derive takes the time of the fact from the task's age: the vendor sends fresh reservations with dates of 0 (section 6.4), and a live message is
// built when the fact happens. Of a snapshot that is not so.
func (e *telling) derive(t *taskObject) {
	if t.derivedNow != 0 {
		e.Time, e.TimeSource = t.derivedNow, event.TimeDerived
	}
}

// measure fills the timing block: from the vendor's times in the message, then from those told before, never from the receipt.
func (c *call) measure(e *telling, r *reservationObject) {
	var known Reservation
	if told := c.view.Reservations[r.id]; told != nil {
		known = *told
	}
	created := r.created
	switch {
	case created != 0:
	case e.Type == event.ReservationCreated:
		created = offered(&e.Event)
	default:
		created = known.Offered
	}
	e.timing.WaitMS = span(r.task.created, created)

	switch now := moment(&e.Event); e.Type {
	case event.ReservationCreated:
	case event.ReservationAccepted, event.ReservationRejected, event.ReservationTimedOut:
		e.timing.RingMS = span(created, now)
	case event.ReservationWrapping:
		e.timing.RingMS = span(created, known.Accepted)
		e.timing.HandleMS = span(known.Accepted, now)
	case event.ReservationCompleted:
		e.timing.RingMS = span(created, known.Accepted)
		switch {
		case known.Wraps != 0:
			e.timing.HandleMS = span(known.Accepted, known.Wraps)
			e.timing.WrapMS = span(known.Wraps, now)
		case next(known.Revision, r.version): // else a wrap-up may have gone unseen, and the time would count as handling
			e.timing.HandleMS = span(known.Accepted, now)
		}
	default:
		e.timing.RingMS = span(created, known.Accepted)
		e.timing.HandleMS = span(known.Accepted, known.Wraps)
	}
}

// next reports whether nothing can lie between revisions a and b; an unknown one is given the benefit of the doubt.
func next(a, b event.Null[int64]) bool { return !a.OK || !b.OK || b.V == a.V+1 }

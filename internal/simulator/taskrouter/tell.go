package taskrouter

import "strconv"

// What a world tells. Each is called once per worker whose sockets carry it, in the moment of the change.

func (x *world) emitWorker(w *worker, eventType string) {
	stamp := seconds(w.updated)
	if eventType == "worker.activity.update" {
		stamp = seconds(w.activityAt[w.activity]) + ":" + x.activities[w.activity].SID
	}
	x.emit(w, Entry{EventType: eventType, Resource: w.sid, Version: new(w.version), Stamp: stamp}, x.workerPayload(w))
}

func (x *world) emitChannel(c *channel, eventType string) {
	c.worker.version++ // a change of a channel is one of its worker (section 6)
	c.worker.updated = c.updated
	x.emit(c.worker, Entry{EventType: eventType, Resource: c.sid, Version: new(c.version), Stamp: seconds(c.updated)}, x.channelPayload(c))
}

func (x *world) emitReservation(r *reservation, eventType string) {
	p := x.reservationPayload(r)
	if eventType == "reservation.created" {
		p.DateCreated, p.DateUpdated = 0, 0 // so in the recorded fixtures (section 6.4)
	}
	x.emit(r.worker, Entry{EventType: eventType, Resource: r.sid, Task: r.task.sid, Version: new(p.Version), Stamp: seconds(p.DateUpdated)}, p)
}

// emitTask tells everyone in to, usually the workers that hold a reservation on t. It is one fact: the entries differ in the worker only.
func (x *world) emitTask(t *task, eventType string, to []*reservation) {
	for _, r := range to {
		x.emit(r.worker, Entry{EventType: eventType, Resource: t.sid, Task: t.sid, Version: new(t.version), Stamp: seconds(t.updated)}, x.standaloneTask(t))
	}
}

func (x *world) emitTransfer(tr *transfer, eventType string) {
	t := tr.initiating.task
	p := x.standaloneTransfer(tr)
	for _, r := range t.reservations {
		x.emit(r.worker, Entry{EventType: eventType, Resource: tr.sid, Task: t.sid, Stamp: seconds(tr.updated)}, p)
	}
}

func seconds(s int64) string { return strconv.FormatInt(s, 10) }

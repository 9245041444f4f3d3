package taskrouter

import "slices"

// Changes of a worker.

// mayBecome keeps two changes to one activity out of one second: a consumer could not tell them apart, because what names a change is
// the worker, the second and the activity.
func (x *world) mayBecome(w *worker, activity int) bool {
	return activity != w.activity && x.seconds() > w.activityAt[activity]
}

func (x *world) setActivity(w *worker, activity int) {
	w.activity = activity
	w.activityAt[activity] = x.seconds()
	x.touchWorker(w)
	x.emitWorker(w, "worker.activity.update")
}

func (x *world) setAttributes(w *worker, attributes string) {
	w.attributes = attributes
	x.touchWorker(w)
	x.emitWorker(w, "worker.attributes.update")
}

func (x *world) touchWorker(w *worker) {
	w.updated = x.seconds()
	w.version++
}

func (x *world) setCapacity(c *channel, capacity int) {
	c.capacity = capacity
	c.updated = x.seconds()
	c.version++
	x.emitChannel(c, "worker.capacity.update")
}

func (x *world) setAvailability(c *channel, available int) {
	c.available = available
	c.updated = x.seconds()
	c.version++
	x.emitChannel(c, "worker.channel.availability.update")
}

// Changes of tasks and reservations: docs/protocols/twilio-taskrouter.md, section 9.

func (x *world) setTaskStatus(t *task, status string) {
	if t.status != status {
		t.status = status
		t.touch(x.seconds())
	}
}

func (t *task) touch(now int64) {
	t.updated = now
	t.version++
}

// canTake says whether w is available, has room on t's channel and does not hold t yet.
func (w *worker) canTake(t *task) bool {
	c := w.channels[t.channel]
	return w.activity == available && c.available == 1 && w.assigned(c.kind) < c.capacity && !w.holds(t)
}

func (w *worker) holds(t *task) bool {
	return slices.ContainsFunc(t.reservations, func(r *reservation) bool { return r.worker == w })
}

// offer makes a pending reservation of w on t, through tr if that is not nil.
func (x *world) offer(t *task, w *worker, tr *transfer) {
	now := x.now()
	r := &reservation{
		sid: x.nextSID("WR"), worker: w, task: t, status: "pending", previousActivity: w.activity,
		created: now.Unix(), updated: now.Unix(), transfer: tr,
	}
	t.reservations = append(t.reservations, r)
	w.reservations = append(w.reservations, r)
	w.version++
	w.channels[t.channel].lastReserved = now.UnixMilli()
	if tr != nil {
		tr.attempt, tr.failedReason = r, ""
		tr.attempts++
	} else {
		x.setTaskStatus(t, "reserved")
	}
	x.emitReservation(r, "reservation.created")
}

func (x *world) setReservation(r *reservation, status string) {
	r.status = status
	r.updated = x.seconds()
	r.version++
}

// end takes r out of what is open.
func (x *world) end(r *reservation, status string) {
	x.setReservation(r, status)
	without := func(s *reservation) bool { return s == r }
	r.task.reservations = slices.DeleteFunc(r.task.reservations, without)
	r.worker.reservations = slices.DeleteFunc(r.worker.reservations, without)
	r.task.past = append(r.task.past, r)
}

// finish takes t out of what is open. It can be read for a while.
func (x *world) finish(t *task) {
	x.tasks = slices.DeleteFunc(x.tasks, func(o *task) bool { return o == t })
	x.ended = append(x.ended, t)
	gone := 0
	for gone < len(x.ended) && (len(x.ended)-gone > maxEnded || x.ended[gone].updated < x.seconds()-keepEnded) {
		gone++
	}
	x.ended = slices.Delete(x.ended, 0, gone)
}

// accept also rescinds what others were offered of the same task, and completes the transfer that r came by.
func (x *world) accept(r *reservation) {
	t := r.task
	x.setReservation(r, "accepted")
	x.setTaskStatus(t, "assigned")
	x.emitReservation(r, "reservation.accepted")
	if tr := r.transfer; tr != nil {
		tr.status, tr.updated, tr.attempt = "complete", x.seconds(), nil
		t.transfer, t.leaving = nil, tr.initiating
		x.emitTransfer(tr, "task.transfer-completed")
		return
	}
	for _, o := range slices.Clone(t.reservations) {
		if o != r {
			x.end(o, "rescinded")
			x.emitReservation(o, "reservation.rescinded")
		}
	}
}

// refuse ends a pending reservation: status is "rejected" or "timeout".
func (x *world) refuse(r *reservation, status string) {
	t := r.task
	x.end(r, status)
	if len(t.reservations) == 0 {
		x.setTaskStatus(t, "pending")
	}
	x.emitReservation(r, "reservation."+status)
	if tr := r.transfer; tr != nil {
		tr.attempt = nil
		tr.updated, tr.attemptAt = x.seconds(), x.seconds()
		tr.failedReason = "target worker did not accept: " + status
		x.emitTransfer(tr, "task.transfer-attempt-failed")
	}
}

func (x *world) update(t *task, attributes string) {
	t.attributes = attributes
	t.touch(x.seconds())
	x.emitTask(t, "task.updated", t.reservations)
}

func (x *world) wrapUp(r *reservation) {
	t := r.task
	x.setReservation(r, "wrapping")
	if t.leaving != r {
		x.setTaskStatus(t, "wrapping")
	}
	x.emitReservation(r, "reservation.wrapup")
	if t.leaving != r {
		x.emitTask(t, "task.wrapup", t.reservations)
	}
}

// leave completes the reservation of a worker who has transferred the task away.
func (x *world) leave(r *reservation) {
	r.task.leaving = nil
	x.end(r, "completed")
	x.emitReservation(r, "reservation.completed")
}

func (x *world) complete(t *task, reason string) {
	t.reason = reason
	x.setTaskStatus(t, "completed")
	x.emitTask(t, "task.completed", t.reservations)
	for _, r := range slices.Clone(t.reservations) {
		x.end(r, "completed")
		x.emitReservation(r, "reservation.completed")
	}
	x.finish(t)
}

// cancel ends t and its reservations; code 0 means no canceled_reason_code.
func (x *world) cancel(t *task, reason string, code int) {
	t.reason = reason
	x.setTaskStatus(t, "canceled")
	holders := slices.Clone(t.reservations)
	for _, r := range holders {
		r.canceledCode = code
		x.end(r, "canceled")
		x.emitReservation(r, "reservation.canceled")
	}
	x.emitTask(t, "task.canceled", holders)
	x.finish(t)
}

// failOutbound tells w that a task aimed at it could not be reserved in time (section 6.7): there never was a reservation.
func (x *world) failOutbound(w *worker) {
	t := x.makeTask()
	t.attributes, t.routingTarget, t.status = "", w, "canceled"
	t.reason = "routing target could not be reserved in time"
	t.touch(x.seconds())
	e := Entry{EventType: "reservation.failed", Resource: t.sid, Task: t.sid, Version: new(t.version), Stamp: seconds(t.updated)}
	x.emit(w, e, x.standaloneTask(t))
}

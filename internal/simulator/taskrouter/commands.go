package taskrouter

import "slices"

// commands are the routes of section 7.4 that a worker's own life needs. Each runs with the simulator's lock held. version is the header
// apiVersion that a route needs.
var commands = map[string]struct {
	version string
	run     func(*request) (any, error)
}{
	"GET Workers/{WK}": {run: func(q *request) (any, error) { return q.world.workerPayload(q.worker), nil }},
	"GET Activities": {run: func(q *request) (any, error) {
		return page(q, q.world.activities[:], func(a activityPayload) string { return a.SID })
	}},
	"GET Workers": {run: func(q *request) (any, error) {
		workers, err := q.filterWorkers()
		if err != nil {
			return nil, err
		}
		return page(q, all(workers, q.world.workerPayload), func(w workerPayload) string { return w.SID })
	}},
	"GET Workers/{WK}/WorkerChannels": {run: func(q *request) (any, error) {
		return page(q, all(q.worker.channels, q.world.channelPayload), func(c channelPayload) string { return c.SID })
	}},
	"GET Workers/{WK}/Reservations": {version: "v2", run: func(q *request) (any, error) {
		if q.text("Active") != "true" {
			return nil, badRequest("Only active reservations can be listed")
		}
		return page(q, all(q.worker.reservations, q.world.reservationPayload), func(r reservationPayload) string { return r.SID })
	}},
	"GET Workers/{WK}/Reservations/{WR}": {run: func(q *request) (any, error) { return q.world.flatReservation(q.reservation), nil }},
	"GET Tasks/{WT}":                     {run: func(q *request) (any, error) { return q.world.standaloneTask(q.task), nil }},

	"POST Workers/{WK}": {run: func(q *request) (any, error) {
		if err := q.updateWorker(); err != nil {
			return nil, err
		}
		return q.world.workerPayload(q.worker), nil
	}},
	"POST Workers/{WK}/Reservations/{WR}": {run: (*request).updateReservation},
	"POST Tasks":                          {run: (*request).createTask},
	"POST Tasks/{WT}":                     {run: (*request).updateTask},
	"POST Workers/{WK}/Transfers": {version: "v2", run: func(q *request) (any, error) {
		r := q.world.reservation(q.text("ReservationSid"))
		if r == nil || r.worker != q.worker || r.task.sid != q.text("TaskSid") {
			return nil, errNotFound
		}
		tr, err := q.world.beginTransfer(r, q.text("To"), q.text("Mode"))
		if err != nil {
			return nil, err
		}
		return q.world.standaloneTransfer(tr), nil
	}},
	"POST Workers/{WK}/Transfers/{TT}": {version: "v2", run: func(q *request) (any, error) {
		tr := q.transfer
		switch {
		case tr.initiating.worker != q.worker || tr.initiating.task.sid != q.text("TaskSid"):
			return nil, errNotFound
		case q.text("TransferStatus") != "canceled":
			return nil, badRequest("TransferStatus %q must be canceled", q.text("TransferStatus"))
		}
		q.world.cancelTransfer(tr)
		return q.world.standaloneTransfer(tr), nil
	}},
}

func (q *request) updateReservation() (any, error) {
	r, status := q.reservation, q.text("ReservationStatus")
	if !slices.Contains([]string{"accepted", "rejected", "wrapping", "completed"}, status) {
		return nil, badRequest("ReservationStatus %q must be accepted, rejected, wrapping or completed; instructions are not simulated", status)
	}
	if err := q.matchVersion(r.version); err != nil {
		return nil, err
	}
	activity := r.worker.activity
	if q.has("WorkerActivitySid") {
		var err error
		if activity, err = q.world.activityNamed(q.text("WorkerActivitySid")); err != nil {
			return nil, err
		}
	}
	if err := q.world.moveReservation(r, status); err != nil {
		return nil, err
	}
	q.world.moveWorker(r.worker, activity, false)
	return q.world.flatReservation(r), nil
}

func (q *request) updateTask() (any, error) {
	t := q.task
	if err := q.matchVersion(t.version); err != nil {
		return nil, err
	}
	if q.has("Attributes") {
		attributes, err := q.attributes()
		if err != nil {
			return nil, err
		}
		if !t.open() {
			return nil, conflict("Task %s is %s and cannot be updated", t.sid, t.status)
		}
		q.world.update(t, attributes)
	}
	if status := q.text("AssignmentStatus"); status != "" {
		if status != "wrapping" && status != "completed" && status != "canceled" {
			return nil, badRequest("AssignmentStatus %q must be wrapping, completed or canceled", status)
		}
		if err := q.world.moveTask(t, status, q.text("Reason"), 0); err != nil {
			return nil, err
		}
	}
	return q.world.standaloneTask(t), nil
}

// createTask makes an outbound task. It is offered to its routing target at once if that worker can take it; otherwise it stays pending.
func (q *request) createTask() (any, error) {
	target := q.world.worker(q.text("RoutingTarget"))
	workflow := slices.IndexFunc(workflows[:], func(n named) bool { return n.sid == q.text("WorkflowSid") })
	queue := slices.IndexFunc(queues[:], func(n named) bool { return n.sid == q.text("TaskQueueSid") })
	attributes, err := q.attributes()
	switch {
	case err != nil:
		return nil, err
	case target == nil || workflow < 0 || queue < 0:
		return nil, badRequest("RoutingTarget %q, WorkflowSid %q and TaskQueueSid %q must exist in this workspace",
			q.text("RoutingTarget"), q.text("WorkflowSid"), q.text("TaskQueueSid"))
	}
	t := q.world.makeTask()
	t.attributes, t.routingTarget, t.workflow, t.queue = attributes, target, workflows[workflow], queues[queue]
	if name := q.text("TaskChannelUniqueName"); name != "" {
		if t.channel = slices.Index(channelNames[:], name); t.channel < 0 {
			return nil, badRequest("TaskChannelUniqueName %q does not exist in this workspace", name)
		}
	}
	q.world.tasks = append(q.world.tasks, t)
	answer := q.world.standaloneTask(t)
	if target.canTake(t) {
		t.status = "reserved" // with version 0, as the workload's
		q.world.offer(t, target, nil)
	}
	return answer, nil
}

// list is the form of section 7.2.
type list[T any] struct {
	Contents []T `json:"contents"`
	Meta     struct {
		ListKey string `json:"list_key"`
	} `json:"meta"`
	AfterSID  *string `json:"after_sid"` // null on the last page
	BeforeSID *string `json:"before_sid"`
}

// page cuts the page that q asks for out of all, which is in the order of SIDs.
func page[T any](q *request, all []T, sid func(T) string) (any, error) {
	size, err := q.pageSize()
	if err != nil {
		return nil, err
	}
	contents, more := cut(all, sid, q.text("AfterSid"), size)
	l := list[T]{Contents: contents}
	l.Meta.ListKey = "contents"
	if more {
		last := sid(contents[size-1])
		l.AfterSID = &last
	}
	return l, nil
}

// all renders each.
func all[T, P any](items []T, payload func(T) P) []P {
	var ps []P
	for _, item := range items {
		ps = append(ps, payload(item))
	}
	return ps
}

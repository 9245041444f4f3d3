package taskrouter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"
)

// Changes that someone asks for, a client by a command or a test through the control interface. Unlike the workload, which only tries
// what is possible, they may ask for the impossible: the answer is then 400 or, where the state forbids it, 409.

const maxAttributes = 4096 // characters (section 13)

func badRequest(format string, args ...any) error {
	return &statusError{status: http.StatusBadRequest, code: 20001, message: fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &statusError{status: http.StatusConflict, message: fmt.Sprintf(format, args...)}
}

// moveReservation takes r to status, and with it whatever section 9 says.
func (x *world) moveReservation(r *reservation, status string) error {
	t := r.task
	switch from := r.status; {
	case from == "pending" && status == "accepted":
		x.accept(r)
	case from == "pending" && (status == "rejected" || status == "timeout"):
		x.refuse(r, status)
	case t.transfer != nil:
		return conflict("Reservation %s has a transfer under way", r.sid)
	case from == "accepted" && status == "wrapping":
		x.wrapUp(r)
	case (from == "accepted" || from == "wrapping") && status == "completed" && r == t.leaving:
		x.leave(r)
	case (from == "accepted" || from == "wrapping") && status == "completed":
		x.complete(t, t.reason)
	default:
		return conflict("Reservation %s is %s and cannot become %s", r.sid, from, status)
	}
	return nil
}

// moveTask takes t to wrapping, completed or canceled. code is told to the workers of a canceled task, 0: none.
func (x *world) moveTask(t *task, status, reason string, code int) error {
	switch {
	case status == "canceled" && t.open():
		if t.transfer != nil {
			x.cancelTransfer(t.transfer)
		}
		x.cancel(t, reason, code)
	case t.transfer != nil:
		return conflict("Task %s has a transfer under way", t.sid)
	case status == "wrapping" && t.status == "assigned":
		holder := slices.IndexFunc(t.reservations, func(r *reservation) bool { return r != t.leaving && r.status == "accepted" })
		t.reason = reason
		x.wrapUp(t.reservations[holder]) // an assigned task has one
	case status == "completed" && (t.status == "assigned" || t.status == "wrapping"):
		x.complete(t, reason)
	default:
		return conflict("Task %s is %s and cannot become %s", t.sid, t.status, status)
	}
	return nil
}

func (t *task) open() bool { return t.status != "completed" && t.status != "canceled" }

// offerTo makes a pending reservation of t for each worker, whatever they are doing.
func (x *world) offerTo(t *task, workers []*worker) ([]string, error) {
	if t.status != "pending" && t.status != "reserved" && len(workers) > 0 {
		return nil, conflict("Task %s is %s and cannot be offered", t.sid, t.status)
	}
	var sids []string
	for _, w := range workers {
		if w.holds(t) {
			return nil, conflict("Worker %s has a reservation of task %s already", w.sid, t.sid)
		}
		x.offer(t, w, nil)
		sids = append(sids, w.reservations[len(w.reservations)-1].sid)
	}
	return sids, nil
}

// beginTransfer starts one of r's task, to a worker or a queue, and offers it to whoever can take it; the transfer fails if nobody can.
func (x *world) beginTransfer(r *reservation, to, mode string) (*transfer, error) {
	if mode == "" {
		mode = "WARM"
	}
	target := x.worker(to)
	switch {
	case mode != "WARM" && mode != "COLD":
		return nil, badRequest("Mode %q must be WARM or COLD", mode)
	case target == nil && to != queues[1].sid:
		return nil, badRequest("To %q must be a worker or the queue %s", to, queues[1].sid)
	case target == r.worker:
		return nil, badRequest("To %q is the worker who transfers", to)
	case r.status != "accepted" || r.task.transfer != nil || r.task.leaving != nil:
		return nil, conflict("Reservation %s cannot be transferred now", r.sid)
	}
	x.startTransfer(r, target, mode)
	tr := r.task.transfer
	switch {
	case target == nil:
		target = x.eligible(r.task, r.worker)
	case !target.canTake(r.task):
		target = nil
	}
	if target == nil {
		x.failTransfer(tr, "no worker accepted in time")
	} else {
		x.offer(r.task, target, tr)
	}
	return tr, nil
}

// moveWorker gives w another activity. Asking for the present one changes nothing and tells nobody.
func (x *world) moveWorker(w *worker, activity int, rejectPending bool) {
	if rejectPending {
		for _, r := range slices.Clone(w.reservations) {
			if r.status == "pending" {
				x.refuse(r, "rejected")
			}
		}
	}
	if activity != w.activity {
		x.setActivity(w, activity)
	}
}

// activityNamed takes a SID or a name.
func (x *world) activityNamed(name string) (int, error) {
	for i, a := range x.activities {
		if a.SID == name || a.FriendlyName == name {
			return i, nil
		}
	}
	return 0, badRequest("Activity %q does not exist in this workspace", name)
}

// checkAttributes accepts an object's JSON text.
func checkAttributes(attributes string) error {
	var object map[string]any
	if err := json.Unmarshal([]byte(attributes), &object); err != nil || object == nil {
		return badRequest("Attributes must be the text of a JSON object")
	}
	if utf8.RuneCountInString(attributes) > maxAttributes {
		return badRequest("Attributes must have at most %d characters", maxAttributes)
	}
	return nil
}

// removeWorker dismisses w: tasks she holds are canceled, transfers to her fail. The last worker stays.
func (x *world) removeWorker(w *worker) error {
	if len(x.workers) == 1 {
		return conflict("Worker %s is the last of the workspace", w.sid)
	}
	for len(w.reservations) > 0 {
		if err := x.moveTask(w.reservations[0].task, "canceled", "worker removed", 0); err != nil {
			return err
		}
	}
	for _, t := range x.tasks {
		if t.transfer != nil && t.transfer.target == w {
			x.failTransfer(t.transfer, "worker removed")
		}
	}
	x.workers = slices.DeleteFunc(x.workers, func(o *worker) bool { return o == w })
	return nil
}

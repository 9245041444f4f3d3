package mapping

import (
	"strconv"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// task tells a change of a task, and a reservation that failed before it came about: the vendor sends the task alone (section 6.7).
func (c *call) task(t event.Type, o document.Value) reason {
	k := readTask(o)
	if why := checkIDs(k.id); why != "" {
		return why
	}
	id := k.id + ":" + t.Verb()
	switch t {
	case event.ReservationFailed:
		id = k.id + ":reservation_failed"
		fallthrough
	case event.TaskUpdated:
		if !k.version.OK { // several changes may share a second: an id made of it would hide all but the first
			return missingField
		}
		id += ":" + strconv.FormatInt(k.version.V, 10)
	case event.TaskWrapping: // after a transfer two agents hold the task, and the vendor may tell of each when she wraps up (section 9)
		stamp := versionOr(k.version, k.updated)
		if stamp == "" {
			return missingField
		}
		id += ":" + stamp
	default: // ends of a task, of which there is one
	}
	if c.view.Told(id) {
		return ""
	}
	e := c.begin(id, t, k.id, k.id)
	e.Data.Revision = k.version
	e.derive(&k)
	e.at(k.updated)
	c.setTask(e, &k)
	c.raw(e, o)
	c.tell(e)
	return ""
}

// transfer tells a step of a transfer. Transfers have no version.
func (c *call) transfer(t event.Type, o document.Value) reason {
	x := readTransfer(o)
	if why := checkIDs(x.id, x.task); why != "" {
		return why
	}
	id := x.id + ":" + t.Verb()
	if t == event.TaskTransferAttemptFailed { // may happen again
		stamp := versionOr(event.Null[int64]{}, x.updated)
		if stamp == "" {
			return missingField
		}
		id += ":" + stamp
	}
	if c.view.Told(id) {
		return ""
	}
	e := c.begin(id, t, x.id, x.task)
	e.at(x.updated)
	e.task = event.Task{ID: x.task, ChainID: x.task}
	e.Data.Task = &e.task
	c.setTransfer(e, &x)
	e.transfer.Status = transferStatusOf(t)
	c.raw(e, o)
	c.tell(e)
	return ""
}

func (c *call) setTask(e *telling, t *taskObject) {
	e.task = event.Task{
		ID: t.id, ChainID: t.id, Channel: taskChannel(t.channel), ChannelRaw: t.channel, Status: taskStatus(t.status), StatusRaw: t.status,
		ReasonRaw: c.policy.freeText.apply(t.reason), Priority: t.priority, QueueID: t.queueID, QueueName: t.queue,
		WorkflowID: t.workflowID, WorkflowName: t.workflowName, RoutingTarget: t.routingTarget, TimeoutMS: t.timeoutMS,
		CreatedAt: t.created, VirtualStartAt: t.virtualStart, Revision: t.version, Attributes: c.policy.taskAttributes.read(t.attributes),
	}
	e.Data.Task = &e.task
}

func (c *call) setTransfer(e *telling, t *transferObject) {
	e.transfer = event.Transfer{
		ID: t.id, Status: transferStatus(t.status), StatusRaw: t.status, Mode: transferMode(t.mode), TargetKind: targetKind(t.kind), TargetID: t.to,
		InitiatingAgentID: t.worker, InitiatingReservationID: t.reservation, ReasonRaw: c.policy.freeText.apply(t.failure),
	}
	e.Data.Transfer = &e.transfer
}

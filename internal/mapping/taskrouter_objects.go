package mapping

import (
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// The vendor's objects, as far as they are told: one walk over each (docs/protocols/twilio-taskrouter.md, section 8).

// workerObject is section 8.1.
type workerObject struct {
	id, name, activityID, activityName string
	attributes                         document.Value
	available                          event.Null[bool]
	updated, since                     event.Instant
	version                            event.Null[int64]
}

func readWorker(o document.Value) (w workerObject) {
	for name, v := range o.Members() {
		switch name {
		case "sid":
			w.id = text(v)
		case "friendly_name":
			w.name = text(v)
		case "attributes":
			w.attributes = v
		case "activity_sid":
			w.activityID = text(v)
		case "activity_name":
			w.activityName = text(v)
		case "available":
			w.available = boolean(v)
		case "date_updated":
			w.updated = seconds(v)
		case "date_status_changed":
			w.since = seconds(v)
		case "version":
			w.version = integer(v)
		}
	}
	return w
}

// channelObject is section 8.3.
type channelObject struct {
	id, worker, name   string
	capacity, assigned event.Null[int64]
	available          event.Null[bool]
	percent            event.Null[float64]
	updated            event.Instant
	version            event.Null[int64]
}

func readChannel(o document.Value) (ch channelObject) {
	for name, v := range o.Members() {
		switch name {
		case "sid":
			ch.id = text(v)
		case "worker_sid":
			ch.worker = text(v)
		case "task_channel_unique_name":
			ch.name = text(v)
		case "configured_capacity":
			ch.capacity = integer(v)
		case "assigned_tasks":
			ch.assigned = integer(v)
		case "available":
			ch.available = boolean(v)
		case "available_capacity_percentage":
			ch.percent = number(v)
		case "date_updated":
			ch.updated = seconds(v)
		case "version":
			ch.version = integer(v)
		}
	}
	return ch
}

// reservationObject is section 8.4.
type reservationObject struct {
	id, worker, workerName, status string
	timeoutMS, reasonCode, version event.Null[int64]
	created, updated               event.Instant
	task                           taskObject
	incoming, outgoing             transferObject // no id: there is none
}

func readReservation(o document.Value) (r reservationObject) {
	for name, v := range o.Members() {
		switch name {
		case "sid":
			r.id = text(v)
		case "worker_sid":
			r.worker = text(v)
		case "worker_name":
			r.workerName = text(v)
		case "reservation_status":
			r.status = word(v)
		case "reservation_timeout":
			r.timeoutMS = secondsSpan(v)
		case "canceled_reason_code":
			r.reasonCode = integer(v)
		case "date_created":
			r.created = seconds(v)
		case "date_updated":
			r.updated = seconds(v)
		case "version":
			r.version = integer(v)
		case "task":
			r.task = readTask(v)
		case "task_transfer":
			r.incoming = readTransfer(v)
		case "active_outgoing_task_transfer":
			r.outgoing = readTransfer(v)
		}
	}
	return r
}

// taskObject is section 8.5.
type taskObject struct {
	id, status, reason                         string
	attributes                                 document.Value
	workflowID, workflowName, queueID, queue   string
	channel, routingTarget                     string
	priority, ageMS, timeoutMS, version        event.Null[int64]
	created, updated, virtualStart, derivedNow event.Instant // derivedNow: created + age, when the message was built
}

func readTask(o document.Value) (t taskObject) {
	for name, v := range o.Members() {
		switch name {
		case "sid":
			t.id = text(v)
		case "date_created":
			t.created = seconds(v)
		case "date_updated":
			t.updated = seconds(v)
		case "attributes":
			t.attributes = v
		case "assignment_status":
			t.status = word(v)
		case "workflow_sid":
			t.workflowID = text(v)
		case "workflow_name":
			t.workflowName = text(v)
		case "queue_sid":
			t.queueID = text(v)
		case "queue_name":
			t.queue = text(v)
		case "priority":
			t.priority = integer(v)
		case "reason":
			t.reason = text(v)
		case "timeout":
			t.timeoutMS = secondsSpan(v)
		case "task_channel_unique_name":
			t.channel = text(v)
		case "age":
			t.ageMS = secondsSpan(v)
		case "routing_target":
			t.routingTarget = text(v)
		case "version":
			t.version = integer(v)
		case "virtual_start_time":
			t.virtualStart = seconds(v)
		}
	}
	if built := t.created + event.Instant(t.ageMS.V); t.created != 0 && t.ageMS.OK && built > 0 && built.Valid() {
		t.derivedNow = built
	}
	return t
}

// transferObject is section 8.8. task is empty in the form nested in a reservation.
type transferObject struct {
	id, task, kind, mode, to, status, failure string
	worker, reservation                       string // who initiated it
	updated                                   event.Instant
}

func readTransfer(o document.Value) (t transferObject) {
	for name, v := range o.Members() {
		switch name {
		case "sid":
			t.id = text(v)
		case "task_sid":
			t.task = text(v)
		case "transfer_type":
			t.kind = word(v)
		case "transfer_mode":
			t.mode = word(v)
		case "transfer_to":
			t.to = text(v)
		case "transfer_status":
			t.status = word(v)
		case "transfer_failed_reason":
			t.failure = text(v)
		case "initiating_worker_sid":
			t.worker = text(v)
		case "initiating_reservation_sid":
			t.reservation = text(v)
		case "date_updated":
			t.updated = seconds(v)
		}
	}
	return t
}

package mapping

import (
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// NewTaskRouterV1 returns a mapper of dialect v1 (docs/protocols/twilio-taskrouter.md, section 10) whose events hold what p allows. Its
// snapshot joins answers in REST form: dates as text, reservations without the task and without versions. Ids of reservations' events and of
// activities are the same as in v2, so that the two may be mixed; ids made of versions, which v1 need not have, are not.
func NewTaskRouterV1(p *Policy) *TaskRouter { return newTaskRouter(p, &v1) }

var v1 = dialect{types: liveTypesV1, control: []string{"ready", "error"}, reservation: readReservationV1, channel: readChannelV1}

// liveTypesV1 is what the messages of the socket become (section 10.4). Its notes have the worker's words without their prefix and once, in the
// oldest page (10.5), with it: both are taken.
var liveTypesV1 = map[string]event.Type{
	"activity.update":                    event.AgentActivityChanged,
	"attributes.update":                  event.AgentAttributesChanged,
	"capacity.update":                    event.AgentCapacityChanged,
	"channel.availability.update":        event.AgentCapacityChanged,
	"worker.activity":                    event.AgentActivityChanged,
	"worker.activity.update":             event.AgentActivityChanged,
	"worker.attributes.update":           event.AgentAttributesChanged,
	"worker.capacity.update":             event.AgentCapacityChanged,
	"worker.channel.availability.update": event.AgentCapacityChanged,
	"reservation.created":                event.ReservationCreated,
	"reservation.accepted":               event.ReservationAccepted,
	"reservation.rejected":               event.ReservationRejected,
	"reservation.timeout":                event.ReservationTimedOut,
	"reservation.canceled":               event.ReservationCanceled,
	"reservation.rescinded":              event.ReservationRescinded,
	"reservation.wrapup":                 event.ReservationWrapping,
	"reservation.completed":              event.ReservationCompleted,
}

// readReservationV1 reads both forms of a reservation: the message's, which is a task that names its reservation (section 10.4), and the REST form
// of lists, which is a reservation that names its task.
func readReservationV1(o document.Value) reservationObject {
	var reservation, task, oldName string
	for name, v := range o.Members() {
		switch name {
		case "reservation_sid":
			reservation = text(v)
		case "task_sid":
			task = text(v)
		case "tasksid": // what the oldest documentation calls the message's sid (10.5)
			oldName = text(v)
		}
	}
	r := readReservation(o)
	if reservation == "" {
		r.task.id = task
		return r
	}
	// Its dates and version are the task's.
	r.id, r.task = reservation, readTask(o)
	r.created, r.updated, r.version = 0, 0, event.Null[int64]{}
	if r.task.id == "" {
		r.task.id = oldName
	}
	return r
}

// readChannelV1 leaves out the version: a message may have one, the REST form has none, and the id must be the same from both.
func readChannelV1(o document.Value) channelObject {
	ch := readChannel(o)
	ch.version = event.Null[int64]{}
	return ch
}

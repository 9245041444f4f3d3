package mapping

import "github.com/taskbridge/taskbridge/internal/event"

// The vendor's words and what they are called here (docs/protocols/twilio-taskrouter.md, section 8). An absent word stays absent, an unknown one is other
// where the enum has it.

// liveTypes is what the messages of the socket become (section 6).
var liveTypes = map[string]event.Type{
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
	"reservation.failed":                 event.ReservationFailed,
	"task.updated":                       event.TaskUpdated,
	"task.canceled":                      event.TaskCanceled,
	"task.completed":                     event.TaskCompleted,
	"task.wrapup":                        event.TaskWrapping,
	"task.transfer-initiated":            event.TaskTransferInitiated,
	"task.transfer-attempt-failed":       event.TaskTransferAttemptFailed,
	"task.transfer-completed":            event.TaskTransferSucceeded,
	"task.transfer-failed":               event.TaskTransferFailed,
	"task.transfer-canceled":             event.TaskTransferCanceled,
}

// reservationStates joins the vendor's status of a reservation, ours, and the event that brings it about.
var reservationStates = [...]struct {
	word   string
	status event.ReservationStatus
	verb   event.Type
}{
	{"pending", event.ReservationPending, event.ReservationCreated},
	{"accepted", event.ReservationStatusAccepted, event.ReservationAccepted},
	{"wrapping", event.ReservationStatusWrapping, event.ReservationWrapping},
	{"completed", event.ReservationStatusCompleted, event.ReservationCompleted},
	{"rejected", event.ReservationStatusRejected, event.ReservationRejected},
	{"timeout", event.ReservationStatusTimedOut, event.ReservationTimedOut},
	{"canceled", event.ReservationStatusCanceled, event.ReservationCanceled},
	{"rescinded", event.ReservationStatusRescinded, event.ReservationRescinded},
}

// reservationStatus is the status that the message's word stands for; without a word the one that the event brings about.
func reservationStatus(word string, t event.Type) event.ReservationStatus {
	for i := range reservationStates {
		if s := &reservationStates[i]; word == s.word || word == "" && t == s.verb {
			return s.status
		}
	}
	return event.ReservationStatusOther
}

// currentVerb is the event that brings a snapshot's status about; empty for an unknown one.
func currentVerb(word string) event.Type {
	for i := range reservationStates {
		if word == reservationStates[i].word {
			return reservationStates[i].verb
		}
	}
	return ""
}

func taskStatus(word string) event.TaskStatus {
	switch word {
	case "":
		return ""
	case "pending":
		return event.TaskStatusPending
	case "reserved":
		return event.TaskStatusReserved
	case "assigned":
		return event.TaskStatusAssigned
	case "wrapping":
		return event.TaskStatusWrapping
	case "completed":
		return event.TaskStatusCompleted
	case "canceled":
		return event.TaskStatusCanceled
	}
	return event.TaskStatusOther
}

// taskChannel knows the unique names of the channels that every workspace begins with; customers may add their own.
func taskChannel(word string) event.TaskChannel {
	switch word {
	case "":
		return ""
	case "voice":
		return event.ChannelVoice
	case "chat":
		return event.ChannelChat
	case "sms":
		return event.ChannelSMS
	case "email":
		return event.ChannelEmail
	case "video":
		return event.ChannelVideo
	case "default":
		return event.ChannelDefault
	}
	return event.ChannelOther
}

func transferStatus(word string) event.TransferStatus {
	switch word {
	case "initiated":
		return event.TransferInitiated
	case "complete":
		return event.TransferSucceeded
	case "failed":
		return event.TransferFailed
	case "canceled":
		return event.TransferCanceled
	}
	return ""
}

// transferStatusOf is the status that a transfer's own events mean: after a failed attempt the vendor's word is still initiated.
func transferStatusOf(t event.Type) event.TransferStatus {
	switch t {
	case event.TaskTransferInitiated:
		return event.TransferInitiated
	case event.TaskTransferAttemptFailed:
		return event.TransferAttemptFailed
	case event.TaskTransferSucceeded:
		return event.TransferSucceeded
	case event.TaskTransferFailed:
		return event.TransferFailed
	case event.TaskTransferCanceled:
		return event.TransferCanceled
	}
	return ""
}

func transferMode(word string) event.TransferMode {
	switch word {
	case "WARM":
		return event.TransferWarm
	case "COLD":
		return event.TransferCold
	}
	return ""
}

func targetKind(word string) event.TargetKind {
	switch word {
	case "":
		return ""
	case "WORKER":
		return event.TargetAgent
	case "QUEUE":
		return event.TargetQueue
	}
	return event.TargetOther
}

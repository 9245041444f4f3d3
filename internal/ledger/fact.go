package ledger

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/taskbridge/taskbridge/internal/event"
)

// identity says what an entry must be called on the broker: docs, "The envelope", attribute id.
func identity(e Entry) (event.Type, string, error) {
	rule, ok := table[e.EventType]
	if !ok {
		return "", "", fmt.Errorf("event_type %q is not in the judge's table", e.EventType)
	}
	suffix := ""
	switch rule.by {
	case once:
	case byStamp:
		suffix = e.Stamp
	case byVersion:
		if e.Version == nil {
			return "", "", fmt.Errorf("%s without a version: its id cannot be known", e.EventType)
		}
		suffix = strconv.FormatInt(*e.Version, 10)
	}
	if rule.by != once && suffix == "" {
		return "", "", fmt.Errorf("%s without a stamp: its id cannot be known", e.EventType)
	}
	return rule.typ, strings.TrimSuffix(e.Resource+":"+rule.verb+":"+suffix, ":"), nil
}

// by is what tells one fact of a resource and verb from the next.
type by int

const (
	once      by = iota // it happens once in the life of the resource
	byVersion           // of the resource
	byStamp
)

var table = map[string]struct {
	typ  event.Type
	verb string
	by   by
}{
	"worker.activity.update":             {event.AgentActivityChanged, "activity_changed", byStamp},
	"worker.attributes.update":           {event.AgentAttributesChanged, "attributes_changed", byVersion},
	"worker.capacity.update":             {event.AgentCapacityChanged, "capacity_changed", byVersion},
	"worker.channel.availability.update": {event.AgentCapacityChanged, "capacity_changed", byVersion},
	"reservation.created":                {event.ReservationCreated, "created", once},
	"reservation.accepted":               {event.ReservationAccepted, "accepted", once},
	"reservation.rejected":               {event.ReservationRejected, "rejected", once},
	"reservation.timeout":                {event.ReservationTimedOut, "timed_out", once},
	"reservation.canceled":               {event.ReservationCanceled, "canceled", once},
	"reservation.rescinded":              {event.ReservationRescinded, "rescinded", once},
	"reservation.wrapup":                 {event.ReservationWrapping, "wrapping", once},
	"reservation.completed":              {event.ReservationCompleted, "completed", once},
	"reservation.failed":                 {event.ReservationFailed, "reservation_failed", byVersion},
	"task.updated":                       {event.TaskUpdated, "updated", byVersion},
	"task.canceled":                      {event.TaskCanceled, "canceled", once},
	"task.completed":                     {event.TaskCompleted, "completed", once},
	"task.wrapup":                        {event.TaskWrapping, "wrapping", byVersion},
	"task.transfer-initiated":            {event.TaskTransferInitiated, "transfer_initiated", once},
	"task.transfer-attempt-failed":       {event.TaskTransferAttemptFailed, "transfer_attempt_failed", byStamp},
	"task.transfer-completed":            {event.TaskTransferSucceeded, "transfer_succeeded", once},
	"task.transfer-failed":               {event.TaskTransferFailed, "transfer_failed", once},
	"task.transfer-canceled":             {event.TaskTransferCanceled, "transfer_canceled", once},
}

// fact is what may be stored once: an event of the vendor, told to one worker or several.
type fact struct {
	id      string
	typ     event.Type
	entries []Entry // one per worker, by seq
	landed  bool
}

// told is the entry of one worker.
func (f *fact) told(worker string) (Entry, bool) {
	for _, e := range f.entries {
		if e.Worker == worker {
			return e, true
		}
	}
	return Entry{}, false
}

// disagrees says what of a stored event is not as the ledger has it, "" where all is. The partition key is the task or, where order is kept
// by agent, the worker.
func (f *fact) disagrees(s stored) string {
	e, ok := f.told(s.agent)
	switch {
	case !ok:
		return fmt.Sprintf("stored for agent %q, who was not told", s.agent)
	case s.typ != f.typ:
		return fmt.Sprintf("stored as %s, told as %s (%s)", s.typ, f.typ, e.EventType)
	case s.key != e.Worker && (e.Task == "" || s.key != e.Task):
		return fmt.Sprintf("stored under partition key %q, told of worker %s and task %q", s.key, e.Worker, e.Task)
	}
	return ""
}

// Package event is the canonical event: CloudEvents 1.0 attributes around one data document that has the same shape for
// every vendor and every type.
//
// An [Event] is what mapping builds. [Event.Encode] turns it into an [Encoded]: a [Header] of attributes and routing tokens
// apart from the data bytes, so that a sink renders structured or binary mode without parsing JSON. The published contract
// is the JSON Schema in schemas/, which the tests hold against these types in both directions.
package event

import "strings"

// Event is one canonical event before encoding. The zero value of a field means "absent" and is rendered as null or, for an
// optional attribute, left out. An Event is built by one goroutine and not changed after it was encoded.
type Event struct {
	// ID is the same for the same fact however it came (socket, snapshot, back-fill): brokers and consumers drop
	// repeats by it. Empty only between a mapper and the intake, for the bridge's own events.
	ID string
	// Source names the feed: /twilio/taskrouter/<AC>/<WS>, /amazon-connect/<instance>.
	Source string
	Type   Type
	// Subject is the resource told about. Revisions are comparable within one (Source, Subject).
	Subject string
	// Time is the vendor's time of the fact where there is one; TimeSource says which kind it is. It never decides what is newer
	// while revisions can.
	Time       Instant
	TimeSource TimeSource
	// Recorded is when the frame was read from the socket, or when the bridge made its own event.
	Recorded Instant
	Origin   Origin
	// PartitionKey is what keeps order: the task chain for reservation, task and transfer events, else the agent.
	PartitionKey  string
	CorrelationID string
	BridgeID      string
	Data          Data
}

// Type is a canonical type in its short form, "<noun>.<verb>"; [Type.Name] gives the CloudEvents type.
type Type string

// The canonical types. Which vendor event becomes which type is in the mapping packages' tables.
const (
	SessionReady        Type = "session.ready"
	SessionLost         Type = "session.lost"
	SessionRefused      Type = "session.refused"
	SessionTokenExpired Type = "session.token_expired"
	SessionGap          Type = "session.gap"

	AgentActivityChanged   Type = "agent.activity_changed"
	AgentAttributesChanged Type = "agent.attributes_changed"
	AgentCapacityChanged   Type = "agent.capacity_changed"

	ReservationCreated     Type = "reservation.created"
	ReservationAccepted    Type = "reservation.accepted"
	ReservationRejected    Type = "reservation.rejected"
	ReservationTimedOut    Type = "reservation.timed_out"
	ReservationCanceled    Type = "reservation.canceled"
	ReservationRescinded   Type = "reservation.rescinded"
	ReservationWrapping    Type = "reservation.wrapping"
	ReservationCompleted   Type = "reservation.completed"
	ReservationFailed      Type = "reservation.failed"
	ReservationEndedUnseen Type = "reservation.ended_unseen"

	TaskUpdated               Type = "task.updated"
	TaskCanceled              Type = "task.canceled"
	TaskCompleted             Type = "task.completed"
	TaskWrapping              Type = "task.wrapping"
	TaskTransferInitiated     Type = "task.transfer_initiated"
	TaskTransferAttemptFailed Type = "task.transfer_attempt_failed"
	TaskTransferSucceeded     Type = "task.transfer_succeeded"
	TaskTransferFailed        Type = "task.transfer_failed"
	TaskTransferCanceled      Type = "task.transfer_canceled"
	TaskExpiring              Type = "task.expiring"
	TaskExpired               Type = "task.expired"

	BridgeUnmapped     Type = "bridge.unmapped"
	BridgeCompleteness Type = "bridge.completeness"
)

// Types lists every canonical type, in the order of the documentation.
var Types = []Type{
	SessionReady, SessionLost, SessionRefused, SessionTokenExpired, SessionGap,
	AgentActivityChanged, AgentAttributesChanged, AgentCapacityChanged,
	ReservationCreated, ReservationAccepted, ReservationRejected, ReservationTimedOut, ReservationCanceled, ReservationRescinded,
	ReservationWrapping, ReservationCompleted, ReservationFailed, ReservationEndedUnseen,
	TaskUpdated, TaskCanceled, TaskCompleted, TaskWrapping,
	TaskTransferInitiated, TaskTransferAttemptFailed, TaskTransferSucceeded, TaskTransferFailed, TaskTransferCanceled,
	TaskExpiring, TaskExpired,
	BridgeUnmapped, BridgeCompleteness,
}

// Name is the CloudEvents type, taskbridge.<noun>.<verb>.v1.
func (t Type) Name() string {
	if name, known := typeNames[t]; known {
		return name
	}
	return typeName(t)
}

func typeName(t Type) string { return "taskbridge." + string(t) + ".v1" }

// typeNames are the names of all types, made once: each event has one.
var typeNames = func() map[Type]string {
	names := make(map[Type]string, len(Types))
	for _, t := range Types {
		names[t] = typeName(t)
	}
	return names
}()

// Noun is the part before the dot: session, agent, reservation, task or bridge.
func (t Type) Noun() string { noun, _, _ := strings.Cut(string(t), "."); return noun }

// Verb is the part after the dot.
func (t Type) Verb() string { _, verb, _ := strings.Cut(string(t), "."); return verb }

// TimeSource says where [Event.Time] comes from.
type TimeSource string

// Vendor: a time the vendor wrote. Derived: computed from figures of the same frame. Received: the bridge's clock.
const (
	TimeVendor   TimeSource = "vendor"
	TimeDerived  TimeSource = "derived"
	TimeReceived TimeSource = "received"
)

// Origin says how the bridge learned of the fact.
type Origin string

// The origins. Only events of origin socket are inside the order promise.
const (
	OriginSocket   Origin = "socket"
	OriginSnapshot Origin = "snapshot"
	OriginBackfill Origin = "backfill"
	OriginWebhook  Origin = "webhook"
	OriginBridge   Origin = "bridge"
)

// The enums of the envelope in the order of the documentation, for the schema and its tests.
var (
	TimeSources = []TimeSource{TimeVendor, TimeDerived, TimeReceived}
	Origins     = []Origin{OriginSocket, OriginSnapshot, OriginBackfill, OriginWebhook, OriginBridge}
)

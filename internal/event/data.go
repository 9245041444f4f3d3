package event

import "encoding/json"

// Data is the document inside the envelope: one schema for all types, every block present or null. Ids are text, spans are
// integer milliseconds, instants RFC 3339 UTC with milliseconds. An empty string is rendered as null.
type Data struct {
	Provider  Provider `json:"provider"`
	AccountID string   `json:"account_id"`
	SiteID    string   `json:"site_id"`
	// Revision orders events of one subject: the vendor's version. Null where the vendor has none.
	Revision    Null[int64]     `json:"revision"`
	Agent       *Agent          `json:"agent"`
	Task        *Task           `json:"task"`
	Reservation *Reservation    `json:"reservation"`
	Timing      *Timing         `json:"timing"`
	Transfer    *Transfer       `json:"transfer"`
	Channel     *Channel        `json:"channel"`
	Session     *Session        `json:"session"`
	Gap         *Gap            `json:"gap"`
	Command     *struct{}       `json:"command"` // reserved by the schema: null in every event of this version
	Unmapped    *Unmapped       `json:"unmapped"`
	Raw         json.RawMessage `json:"raw"` // the vendor's payload, only with raw: true
}

// Provider is the vendor.
type Provider string

// The providers.
const (
	Twilio        Provider = "twilio"
	AmazonConnect Provider = "amazon_connect"
)

// Agent is the agent on whose socket the event came, with the activity known when it was told.
type Agent struct {
	ID                   string      `json:"id"`
	Name                 string      `json:"name"`
	ActivityID           string      `json:"activity_id"`
	ActivityName         string      `json:"activity_name"`
	Available            Null[bool]  `json:"available"`
	ActivitySince        Instant     `json:"activity_since"`
	PreviousActivityID   string      `json:"previous_activity_id"`
	PreviousActivityName string      `json:"previous_activity_name"`
	PreviousActivityMS   Null[int64] `json:"previous_activity_ms"`
	// Attributes is what the privacy policy kept: a JSON object of scalars, {} when empty.
	Attributes json.RawMessage `json:"attributes"`
}

// Task is the piece of work, as of this event.
type Task struct {
	ID             string          `json:"id"`
	ChainID        string          `json:"chain_id"` // the same for all parts of one conversation; the partition key
	Name           string          `json:"name"`
	Channel        TaskChannel     `json:"channel"`
	ChannelRaw     string          `json:"channel_raw"`
	Status         TaskStatus      `json:"status"`
	StatusRaw      string          `json:"status_raw"`
	Reason         string          `json:"reason"`
	ReasonRaw      string          `json:"reason_raw"` // free text: under the privacy policy
	Priority       Null[int64]     `json:"priority"`
	QueueID        string          `json:"queue_id"`
	QueueName      string          `json:"queue_name"`
	WorkflowID     string          `json:"workflow_id"`
	WorkflowName   string          `json:"workflow_name"`
	RoutingTarget  string          `json:"routing_target"`
	TimeoutMS      Null[int64]     `json:"timeout_ms"`
	CreatedAt      Instant         `json:"created_at"`
	VirtualStartAt Instant         `json:"virtual_start_at"`
	Revision       Null[int64]     `json:"revision"`
	Attributes     json.RawMessage `json:"attributes"`
}

// Reservation is the offer of a task to one agent and what became of it.
type Reservation struct {
	ID         string            `json:"id"`
	Status     ReservationStatus `json:"status"`
	StatusRaw  string            `json:"status_raw"`
	Reason     string            `json:"reason"`
	ReasonRaw  string            `json:"reason_raw"`
	ReasonCode Null[int64]       `json:"reason_code"`
	TimeoutMS  Null[int64]       `json:"timeout_ms"`
	CreatedAt  Instant           `json:"created_at"`
	UpdatedAt  Instant           `json:"updated_at"`
}

// Timing holds spans between vendor times, in ms: of the frame first, of earlier events second, never of receipt.
type Timing struct {
	WaitMS   Null[int64] `json:"wait_ms"`   // task created to reservation created
	RingMS   Null[int64] `json:"ring_ms"`   // reservation created to accepted, rejected or timed out
	HandleMS Null[int64] `json:"handle_ms"` // accepted to wrapping, or to completed where there was no wrapping
	WrapMS   Null[int64] `json:"wrap_ms"`   // wrapping to completed
}

// Transfer is a hand-over of a task to another agent or queue.
type Transfer struct {
	ID                      string         `json:"id"`
	VendorID                string         `json:"vendor_id"` // an id whose meaning the vendor does not document
	Status                  TransferStatus `json:"status"`
	StatusRaw               string         `json:"status_raw"`
	Mode                    TransferMode   `json:"mode"`
	TargetKind              TargetKind     `json:"target_kind"`
	TargetID                string         `json:"target_id"`
	InitiatingAgentID       string         `json:"initiating_agent_id"`
	InitiatingReservationID string         `json:"initiating_reservation_id"`
	Reason                  string         `json:"reason"`
	ReasonRaw               string         `json:"reason_raw"`
}

// Channel is an agent's capacity for one kind of work.
type Channel struct {
	ID               string        `json:"id"`
	Name             TaskChannel   `json:"name"`
	NameRaw          string        `json:"name_raw"`
	Capacity         Null[int64]   `json:"capacity"`
	Available        Null[bool]    `json:"available"`
	AssignedTasks    Null[int64]   `json:"assigned_tasks"`
	AvailablePercent Null[float64] `json:"available_percent"`
	UpdatedAt        Instant       `json:"updated_at"`
}

// Session is the state of one agent's session.
type Session struct {
	Incarnation string       `json:"incarnation"` // <bridgeid>-<process start ms>-<n>: one value per connection
	State       SessionState `json:"state"`
	Continuity  Continuity   `json:"continuity"`
	Reason      string       `json:"reason"` // a bounded word from the vendor's table
}

// Gap is a stretch in which a feed was not provably receiving.
type Gap struct {
	State           GapState    `json:"state"`
	Feed            string      `json:"feed"`
	From            Instant     `json:"from"`
	To              Instant     `json:"to"`
	DurationMS      Null[int64] `json:"duration_ms"`
	Cause           GapCause    `json:"cause"`
	Result          GapResult   `json:"result"`
	RecoveredEvents Null[int64] `json:"recovered_events"`
	Note            string      `json:"note"`
}

// Unmapped describes a frame that could not be mapped, without its content: that may be nothing but personal data.
type Unmapped struct {
	TypeRaw   string   `json:"type_raw"`   // the vendor's type word, at most 64 bytes
	SizeBytes int64    `json:"size_bytes"` // of the frame
	SHA256    string   `json:"sha256"`     // of the frame, hex
	Keys      []string `json:"keys"`       // top-level member names, at most 16 of at most 64 bytes
	Reason    string   `json:"reason"`     // a bounded word
	Count     int64    `json:"count"`      // frames this record stands for: more than 1 when they came too fast to tell each
}

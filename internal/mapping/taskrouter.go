package mapping

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
	"github.com/taskbridge/taskbridge/internal/source"
)

// TaskRouter maps the frames of Twilio TaskRouter's worker sockets. A live frame is one message of the socket. A state frame is the worker's
// snapshot, joined from the answers of the event bridge:
//
//	{"worker": {…}, "reservations": [{…}, …], "channels": [{…}, …]}
//
// channels only where they were asked for.
type TaskRouter struct {
	policy  *Policy
	dialect *dialect
	scratch sync.Pool // of *scratch
}

var _ Mapper = (*TaskRouter)(nil)

// NewTaskRouter returns a mapper of dialect v2 (docs/protocols/twilio-taskrouter.md, sections 6 and 8) whose events hold what p allows. A
// snapshot has the objects of sections 8.1, 8.4 and 8.3.
func NewTaskRouter(p *Policy) *TaskRouter { return newTaskRouter(p, &v2) }

func newTaskRouter(p *Policy, d *dialect) *TaskRouter {
	return &TaskRouter{policy: p, dialect: d, scratch: sync.Pool{New: func() any { return new(scratch) }}}
}

// dialect is all in which the two generations of the vendor's protocol differ for a mapper.
type dialect struct {
	types       map[string]event.Type // what a message of the socket becomes, by its type word
	control     []string              // type words of protocol housekeeping
	reservation func(document.Value) reservationObject
	channel     func(document.Value) channelObject
}

var v2 = dialect{types: liveTypes, control: []string{"init", "error"}, reservation: readReservation, channel: readChannel}

// Map implements [Mapper]. A snapshot of which a part cannot be mapped is Unmapped; its other parts are told all the same.
func (t *TaskRouter) Map(v *View, f source.Frame, emit func(*event.Event) error) Outcome {
	s := t.scratch.Get().(*scratch)
	defer t.scratch.Put(s)
	c := call{scratch: s, policy: t.policy, dialect: t.dialect, view: v, feed: f.Feed, received: event.InstantOf(f.Received), emit: emit}
	var typeRaw string
	doc, why := object(&c.doc, f.Body)
	switch {
	case why != "":
	case f.Feed == source.Live:
		var payload document.Value
		typeRaw, payload = envelope(doc)
		if slices.Contains(t.dialect.control, typeRaw) {
			return Control
		}
		why = c.live(typeRaw, payload)
	case f.Feed == source.State:
		why = c.state(doc)
	default:
		why = otherFeed
	}
	switch {
	case why != "":
		c.unmapped(describe(f.Body, doc, typeRaw, why))
		return Unmapped
	case c.emitted:
		return Mapped
	case c.collided:
		return Collided
	}
	return Repeat
}

// envelope takes a message apart (section 4.4).
func envelope(doc document.Value) (eventType string, payload document.Value) {
	for name, v := range doc.Members() {
		switch name {
		case "event_type":
			eventType = v.Text()
		case "payload":
			payload = v
		}
	}
	return eventType, payload
}

// live maps one message of the socket (section 6).
func (c *call) live(eventType string, payload document.Value) reason {
	if eventType == "" {
		return noEventType
	}
	t := c.dialect.types[eventType]
	switch {
	case t == "":
		return unknownType
	case payload.Kind() != document.Object:
		return noPayload
	}
	switch t {
	case event.AgentActivityChanged, event.AgentAttributesChanged:
		return c.worker(t, payload)
	case event.AgentCapacityChanged:
		return c.channel(t, payload)
	case event.TaskUpdated, event.TaskCanceled, event.TaskCompleted, event.TaskWrapping, event.ReservationFailed:
		return c.task(t, payload)
	case event.TaskTransferInitiated, event.TaskTransferAttemptFailed, event.TaskTransferSucceeded, event.TaskTransferFailed,
		event.TaskTransferCanceled:
		return c.transfer(t, payload)
	}
	return c.reservation(t, payload)
}

// call is one call of Map.
type call struct {
	*scratch
	dialect  *dialect
	policy   *Policy
	view     *View
	feed     source.Feed
	received event.Instant
	emit     func(*event.Event) error

	emitted  bool
	collided bool // something new was not told because its id was
	failed   bool // emit refused an event: nothing more is told
}

// scratch is memory that one call uses after the other.
type scratch struct {
	doc    document.Document // the frame
	atHand telling           // the event that is being made or told
}

// telling is an event and its blocks.
type telling struct {
	event.Event
	agent       event.Agent
	task        event.Task
	reservation event.Reservation
	timing      event.Timing
	transfer    event.Transfer
	channel     event.Channel
}

// begin begins an event about the call's agent with what every event has; key is its partition key and correlation id. The agent block
// holds the activity last told, and no attributes: a view has none. The event begun before it is over.
func (c *call) begin(id string, t event.Type, subject, key string) *telling {
	a, e := &c.view.Agent, &c.atHand
	*e = telling{}
	e.Event = event.Event{
		ID: id, Source: a.URI, Type: t, Subject: subject, PartitionKey: key, CorrelationID: key, Origin: event.OriginSocket,
		Time: c.received, TimeSource: event.TimeReceived,
	}
	e.agent = event.Agent{
		ID: a.ID, Name: c.policy.agentName("", c.view.Name), ActivityID: c.view.Activity.ID, ActivityName: c.view.Activity.Name,
		Available: c.view.Activity.Available, ActivitySince: c.view.Activity.Since,
	}
	e.Data.Provider, e.Data.AccountID, e.Data.SiteID = event.Provider(a.Provider), a.Account, a.Site
	e.Data.Agent = &e.agent
	if c.feed == source.State {
		e.Origin = event.OriginSnapshot
	}
	return e
}

// at sets the time of the fact where the vendor wrote one.
func (e *telling) at(vendor event.Instant) {
	if vendor != 0 {
		e.Time, e.TimeSource = vendor, event.TimeVendor
	}
}

// raw keeps the vendor's object where the policy says so.
func (c *call) raw(e *telling, o document.Value) {
	if !c.policy.raw {
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(o.Raw())) == nil { // object has validated it
		e.Data.Raw = compact.Bytes()
	}
}

func (c *call) tell(e *telling) {
	if c.failed {
		return
	}
	if err := c.emit(&e.Event); err != nil {
		c.failed = true
		return
	}
	c.emitted = true
}

func (c *call) unmapped(u *event.Unmapped) {
	agent := c.view.Agent.ID
	e := c.begin("", event.BridgeUnmapped, agent+":unmapped", agent)
	e.Origin = event.OriginBridge
	e.Data.Unmapped = u
	c.tell(e)
}

package event

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// SpecVersion, ContentType and DataSchema are the same in every event.
const (
	SpecVersion = "1.0"
	ContentType = "application/json"
	DataSchema  = "urn:taskbridge:event-data:1.0"
)

// Header is what a sink needs of an event without parsing its data: the CloudEvents attributes and the routing tokens. It is
// immutable once made.
type Header struct {
	ID, Source    string
	Type          Type
	Subject       string
	Time          Instant
	TimeSource    TimeSource
	Recorded      Instant
	Origin        Origin
	PartitionKey  string
	CorrelationID string
	BridgeID      string

	// Routing tokens for subject and topic templates; noun and verb are those of Type.
	Provider Provider
	Account  string
	Agent    string
}

// Encoded is an event ready for the log: its header, and the data document as compact JSON.
type Encoded struct {
	Header Header
	Data   []byte
}

// Encode renders e into dst, reusing dst.Data. What dst holds is valid until the next Encode into it.
func (e *Event) Encode(dst *Encoded) {
	agent := ""
	if e.Data.Agent != nil {
		agent = e.Data.Agent.ID
	}
	dst.Header = Header{
		ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: e.Time, TimeSource: e.TimeSource, Recorded: e.Recorded,
		Origin: e.Origin, PartitionKey: e.PartitionKey, CorrelationID: e.CorrelationID, BridgeID: e.BridgeID,
		Provider: e.Data.Provider, Account: e.Data.AccountID, Agent: agent,
	}
	dst.Data = e.Data.Append(dst.Data[:0])
}

// Attributes calls yield for every CloudEvents attribute that is present, in the order of the documentation. sequence is rendered by
// the log's record, because only the log knows positions. datacontenttype is among them.
func (h *Header) Attributes(sequence string, yield func(name, value string)) {
	present := func(name, value string) {
		if value != "" { // CloudEvents 1.0.2, "Context Attributes": an attribute without a value is left out
			yield(name, value)
		}
	}
	present("specversion", SpecVersion)
	present("id", h.ID)
	present("source", h.Source)
	present("type", h.Type.Name())
	present("subject", h.Subject)
	present("time", h.Time.String())
	present("timesource", string(h.TimeSource))
	present("recordedtime", h.Recorded.String())
	present("origin", string(h.Origin))
	present("partitionkey", h.PartitionKey)
	present("correlationid", h.CorrelationID)
	present("sequence", sequence)
	present("bridgeid", h.BridgeID)
	present("datacontenttype", ContentType)
	present("dataschema", DataSchema)
}

// AppendStructured appends the event in CloudEvents structured mode (JSON event format 1.0, content type
// application/cloudevents+json), compact.
func AppendStructured(dst []byte, h *Header, sequence string, data []byte) []byte {
	dst = append(dst, '{')
	h.Attributes(sequence, func(name, value string) {
		dst = append(dst, '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		dst = appendString(dst, value)
		dst = append(dst, ',')
	})
	dst = append(dst, `"data":`...)
	dst = append(dst, data...)
	return append(dst, '}')
}

// Append appends d as compact JSON: every member present, absent values null.
func (d *Data) Append(dst []byte) []byte {
	w := writer{dst}
	w.open()
	w.text("provider", string(d.Provider))
	w.text("account_id", d.AccountID)
	w.text("site_id", d.SiteID)
	w.integer("revision", d.Revision)
	if w.block("agent", d.Agent != nil) {
		d.Agent.write(&w)
	}
	if w.block("task", d.Task != nil) {
		d.Task.write(&w)
	}
	if w.block("reservation", d.Reservation != nil) {
		d.Reservation.write(&w)
	}
	if w.block("timing", d.Timing != nil) {
		d.Timing.write(&w)
	}
	if w.block("transfer", d.Transfer != nil) {
		d.Transfer.write(&w)
	}
	if w.block("channel", d.Channel != nil) {
		d.Channel.write(&w)
	}
	if w.block("session", d.Session != nil) {
		d.Session.write(&w)
	}
	if w.block("gap", d.Gap != nil) {
		d.Gap.write(&w)
	}
	w.block("command", false)
	if w.block("unmapped", d.Unmapped != nil) {
		d.Unmapped.write(&w)
	}
	w.raw("raw", d.Raw, "null")
	w.close()
	return w.b
}

// MarshalJSON is [Data.Append].
func (d *Data) MarshalJSON() ([]byte, error) { return d.Append(nil), nil }

func (a *Agent) write(w *writer) {
	w.open()
	w.text("id", a.ID)
	w.text("name", a.Name)
	w.text("activity_id", a.ActivityID)
	w.text("activity_name", a.ActivityName)
	w.boolean("available", a.Available)
	w.instant("activity_since", a.ActivitySince)
	w.text("previous_activity_id", a.PreviousActivityID)
	w.text("previous_activity_name", a.PreviousActivityName)
	w.integer("previous_activity_ms", a.PreviousActivityMS)
	w.raw("attributes", a.Attributes, "{}")
	w.close()
}

func (t *Task) write(w *writer) {
	w.open()
	w.text("id", t.ID)
	w.text("chain_id", t.ChainID)
	w.text("name", t.Name)
	w.text("channel", string(t.Channel))
	w.text("channel_raw", t.ChannelRaw)
	w.text("status", string(t.Status))
	w.text("status_raw", t.StatusRaw)
	w.text("reason", t.Reason)
	w.text("reason_raw", t.ReasonRaw)
	w.integer("priority", t.Priority)
	w.text("queue_id", t.QueueID)
	w.text("queue_name", t.QueueName)
	w.text("workflow_id", t.WorkflowID)
	w.text("workflow_name", t.WorkflowName)
	w.text("routing_target", t.RoutingTarget)
	w.integer("timeout_ms", t.TimeoutMS)
	w.instant("created_at", t.CreatedAt)
	w.instant("virtual_start_at", t.VirtualStartAt)
	w.integer("revision", t.Revision)
	w.raw("attributes", t.Attributes, "{}")
	w.close()
}

func (r *Reservation) write(w *writer) {
	w.open()
	w.text("id", r.ID)
	w.text("status", string(r.Status))
	w.text("status_raw", r.StatusRaw)
	w.text("reason", r.Reason)
	w.text("reason_raw", r.ReasonRaw)
	w.integer("reason_code", r.ReasonCode)
	w.integer("timeout_ms", r.TimeoutMS)
	w.instant("created_at", r.CreatedAt)
	w.instant("updated_at", r.UpdatedAt)
	w.close()
}

func (t *Timing) write(w *writer) {
	w.open()
	w.integer("wait_ms", t.WaitMS)
	w.integer("ring_ms", t.RingMS)
	w.integer("handle_ms", t.HandleMS)
	w.integer("wrap_ms", t.WrapMS)
	w.close()
}

func (t *Transfer) write(w *writer) {
	w.open()
	w.text("id", t.ID)
	w.text("vendor_id", t.VendorID)
	w.text("status", string(t.Status))
	w.text("status_raw", t.StatusRaw)
	w.text("mode", string(t.Mode))
	w.text("target_kind", string(t.TargetKind))
	w.text("target_id", t.TargetID)
	w.text("initiating_agent_id", t.InitiatingAgentID)
	w.text("initiating_reservation_id", t.InitiatingReservationID)
	w.text("reason", t.Reason)
	w.text("reason_raw", t.ReasonRaw)
	w.close()
}

func (c *Channel) write(w *writer) {
	w.open()
	w.text("id", c.ID)
	w.text("name", string(c.Name))
	w.text("name_raw", c.NameRaw)
	w.integer("capacity", c.Capacity)
	w.boolean("available", c.Available)
	w.integer("assigned_tasks", c.AssignedTasks)
	w.number("available_percent", c.AvailablePercent)
	w.instant("updated_at", c.UpdatedAt)
	w.close()
}

func (s *Session) write(w *writer) {
	w.open()
	w.text("incarnation", s.Incarnation)
	w.text("state", string(s.State))
	w.text("continuity", string(s.Continuity))
	w.text("reason", s.Reason)
	w.close()
}

func (g *Gap) write(w *writer) {
	w.open()
	w.text("state", string(g.State))
	w.text("feed", g.Feed)
	w.instant("from", g.From)
	w.instant("to", g.To)
	w.integer("duration_ms", g.DurationMS)
	w.text("cause", string(g.Cause))
	w.text("result", string(g.Result))
	w.integer("recovered_events", g.RecoveredEvents)
	w.text("note", g.Note)
	w.close()
}

func (u *Unmapped) write(w *writer) {
	w.open()
	w.text("type_raw", u.TypeRaw)
	w.integer("size_bytes", Some(u.SizeBytes))
	w.text("sha256", u.SHA256)
	w.name("keys")
	w.b = append(w.b, '[')
	for i, k := range u.Keys {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = appendString(w.b, k)
	}
	w.b = append(w.b, ']')
	w.text("reason", u.Reason)
	w.integer("count", Some(u.Count))
	w.close()
}

// writer appends members of JSON objects. It is an append encoder because the data document is built once for every event:
// encoding/json costs several times as much (docs/decisions/0003-encoding.md).
type writer struct{ b []byte }

func (w *writer) open()  { w.b = append(w.b, '{') }
func (w *writer) close() { w.b = append(w.b, '}') }

func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *writer) null() { w.b = append(w.b, "null"...) }

// block begins a member that is an object or null, and says whether the object is to be written.
func (w *writer) block(name string, present bool) bool {
	w.name(name)
	if !present {
		w.null()
	}
	return present
}

func (w *writer) text(name, v string) {
	w.name(name)
	if v == "" {
		w.null()
		return
	}
	w.b = appendString(w.b, v)
}

func (w *writer) integer(name string, v Null[int64]) {
	w.name(name)
	if !v.OK {
		w.null()
		return
	}
	w.b = strconv.AppendInt(w.b, v.V, 10)
}

// number renders what JSON has no form for as null: a vendor's 1e999 is read as +Inf.
func (w *writer) number(name string, v Null[float64]) {
	w.name(name)
	if !v.OK || math.IsInf(v.V, 0) || math.IsNaN(v.V) {
		w.null()
		return
	}
	w.b = strconv.AppendFloat(w.b, v.V, 'f', -1, 64)
}

func (w *writer) boolean(name string, v Null[bool]) {
	w.name(name)
	if !v.OK {
		w.null()
		return
	}
	w.b = strconv.AppendBool(w.b, v.V)
}

func (w *writer) instant(name string, v Instant) {
	w.name(name)
	if v == 0 {
		w.null()
		return
	}
	w.b = append(w.b, '"')
	w.b = v.Time().AppendFormat(w.b, instantLayout)
	w.b = append(w.b, '"')
}

func (w *writer) raw(name string, v json.RawMessage, absent string) {
	w.name(name)
	if len(v) == 0 {
		w.b = append(w.b, absent...)
		return
	}
	w.b = append(w.b, v...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259, section 7). Invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c < utf8.RuneSelf && c >= ' ' && c != '"' && c != '\\':
			i++
			continue
		case c < utf8.RuneSelf:
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			i++
			start = i
			continue
		}
		if r, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
		} else {
			i += size
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Decode is the way back from [Event.Encode]: what a view is rebuilt from. Unknown members of the data are left out, because a later minor
// version may have added them.
func (e *Encoded) Decode() (*Event, error) {
	h := &e.Header
	out := &Event{
		ID: h.ID, Source: h.Source, Type: h.Type, Subject: h.Subject, Time: h.Time, TimeSource: h.TimeSource, Recorded: h.Recorded,
		Origin: h.Origin, PartitionKey: h.PartitionKey, CorrelationID: h.CorrelationID, BridgeID: h.BridgeID,
	}
	if err := json.Unmarshal(e.Data, &out.Data); err != nil {
		return nil, fmt.Errorf("data of event %q: %w", h.ID, err)
	}
	out.Data.normalize()
	return out, nil
}

// normalize makes a decoded document equal to the one that was encoded: an absent raw document decodes as the text that was written for it.
func (d *Data) normalize() {
	absent := func(m *json.RawMessage, written string) {
		if bytes.Equal(*m, []byte(written)) {
			*m = nil
		}
	}
	absent(&d.Raw, "null")
	if d.Agent != nil {
		absent(&d.Agent.Attributes, "{}")
	}
	if d.Task != nil {
		absent(&d.Task.Attributes, "{}")
	}
}

// ParseStructured reads an event in CloudEvents structured mode as a consumer finds it on a broker, with its sequence. Members that are not known
// are left out. It fails on what is not an event of this version's major: another specversion, a type that is not taskbridge's v1, or no id
// or source, without which repeats cannot be told (CloudEvents 1.0.2, "Required attributes").
func ParseStructured(body []byte) (e *Event, sequence string, err error) {
	var wire struct {
		SpecVersion   string     `json:"specversion"`
		ID            string     `json:"id"`
		Source        string     `json:"source"`
		Type          string     `json:"type"`
		Subject       string     `json:"subject"`
		Time          Instant    `json:"time"`
		TimeSource    TimeSource `json:"timesource"`
		Recorded      Instant    `json:"recordedtime"`
		Origin        Origin     `json:"origin"`
		PartitionKey  string     `json:"partitionkey"`
		CorrelationID string     `json:"correlationid"`
		Sequence      string     `json:"sequence"`
		BridgeID      string     `json:"bridgeid"`
		Data          Data       `json:"data"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return nil, "", fmt.Errorf("structured event: %w", err)
	}
	if wire.SpecVersion != SpecVersion {
		return nil, "", fmt.Errorf("structured event: specversion %q, want %q", wire.SpecVersion, SpecVersion)
	}
	if wire.ID == "" || wire.Source == "" {
		return nil, "", errors.New("structured event: id or source is missing")
	}
	t, err := parseType(wire.Type)
	if err != nil {
		return nil, "", fmt.Errorf("structured event: %w", err)
	}
	wire.Data.normalize()
	return &Event{
		ID: wire.ID, Source: wire.Source, Type: t, Subject: wire.Subject, Time: wire.Time, TimeSource: wire.TimeSource, Recorded: wire.Recorded,
		Origin: wire.Origin, PartitionKey: wire.PartitionKey, CorrelationID: wire.CorrelationID, BridgeID: wire.BridgeID, Data: wire.Data,
	}, wire.Sequence, nil
}

// parseType is the way back from [Type.Name].
func parseType(name string) (Type, error) {
	short, ours := strings.CutPrefix(name, "taskbridge.")
	short, v1 := strings.CutSuffix(short, ".v1")
	if t := Type(short); ours && v1 && slices.Contains(Types, t) {
		return t, nil
	}
	return "", fmt.Errorf("type %q is not one of this version", name)
}

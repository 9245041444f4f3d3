package ledger

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// The simulator writes its ledger as lines of JSON, and shares no type with the judge.
func TestEntryIsALineOfTheLedger(t *testing.T) {
	lines := json.NewDecoder(strings.NewReader(
		`{"seq":1,"at":"2026-01-02T03:04:10.5Z","worker":"WK1","event_type":"worker.activity.update","resource":"WK1","task":"","version":17,"stamp":"1767323050:WA2","delivered":2}
{"seq":2,"at":"2026-01-02T03:04:11Z","worker":"WK1","event_type":"task.transfer-failed","resource":"TT1","task":"WT1","version":null,"stamp":"1767323051","delivered":0}
`))
	lines.DisallowUnknownFields()
	got := make([]Entry, 2)
	for i := range got {
		if err := lines.Decode(&got[i]); err != nil {
			t.Fatal(err)
		}
	}
	version := int64(17)
	want := []Entry{
		{
			Seq: 1, At: time.Date(2026, 1, 2, 3, 4, 10, 500e6, time.UTC), Worker: "WK1", EventType: "worker.activity.update", Resource: "WK1",
			Version: &version, Stamp: "1767323050:WA2", Delivered: 2,
		},
		{
			Seq: 2, At: time.Date(2026, 1, 2, 3, 4, 11, 0, time.UTC), Worker: "WK1", EventType: "task.transfer-failed", Resource: "TT1",
			Task: "WT1", Stamp: "1767323051",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// Written from the documentation of the ids, not from the table.
func TestIdentity(t *testing.T) {
	version, unchecked := int64(7), maps.Clone(table)
	for eventType, want := range map[string]struct {
		resource, stamp string
		typ             event.Type
		id              string
	}{
		"worker.activity.update":             {"WK1", "1767323050:WA2", "agent.activity_changed", "WK1:activity_changed:1767323050:WA2"},
		"worker.attributes.update":           {"WK1", "1", "agent.attributes_changed", "WK1:attributes_changed:7"},
		"worker.capacity.update":             {"WC1", "1", "agent.capacity_changed", "WC1:capacity_changed:7"},
		"worker.channel.availability.update": {"WC1", "1", "agent.capacity_changed", "WC1:capacity_changed:7"},
		"reservation.created":                {"WR1", "0", "reservation.created", "WR1:created"},
		"reservation.accepted":               {"WR1", "1", "reservation.accepted", "WR1:accepted"},
		"reservation.rejected":               {"WR1", "1", "reservation.rejected", "WR1:rejected"},
		"reservation.timeout":                {"WR1", "1", "reservation.timed_out", "WR1:timed_out"},
		"reservation.canceled":               {"WR1", "1", "reservation.canceled", "WR1:canceled"},
		"reservation.rescinded":              {"WR1", "1", "reservation.rescinded", "WR1:rescinded"},
		"reservation.wrapup":                 {"WR1", "1", "reservation.wrapping", "WR1:wrapping"},
		"reservation.completed":              {"WR1", "1", "reservation.completed", "WR1:completed"},
		"reservation.failed":                 {"WT1", "1", "reservation.failed", "WT1:reservation_failed:7"},
		"task.updated":                       {"WT1", "1", "task.updated", "WT1:updated:7"},
		"task.canceled":                      {"WT1", "1", "task.canceled", "WT1:canceled"},
		"task.completed":                     {"WT1", "1", "task.completed", "WT1:completed"},
		"task.wrapup":                        {"WT1", "1", "task.wrapping", "WT1:wrapping:7"},
		"task.transfer-initiated":            {"TT1", "1", "task.transfer_initiated", "TT1:transfer_initiated"},
		"task.transfer-attempt-failed":       {"TT1", "1767323200", "task.transfer_attempt_failed", "TT1:transfer_attempt_failed:1767323200"},
		"task.transfer-completed":            {"TT1", "1", "task.transfer_succeeded", "TT1:transfer_succeeded"},
		"task.transfer-failed":               {"TT1", "1", "task.transfer_failed", "TT1:transfer_failed"},
		"task.transfer-canceled":             {"TT1", "1", "task.transfer_canceled", "TT1:transfer_canceled"},
	} {
		typ, id, err := identity(Entry{EventType: eventType, Resource: want.resource, Stamp: want.stamp, Version: &version})
		if err != nil || typ != want.typ || id != want.id {
			t.Errorf("%s: got %s %s %v, want %s %s", eventType, typ, id, err, want.typ, want.id)
		}
		delete(unchecked, eventType)
	}
	for eventType := range unchecked {
		t.Errorf("%s is in the table and has no test", eventType)
	}
	for _, e := range []Entry{
		{EventType: "worker.deleted", Resource: "WK1"},
		{EventType: "task.updated", Resource: "WT1", Stamp: "1"},
		{EventType: "worker.activity.update", Resource: "WK1"},
	} {
		if typ, id, err := identity(e); err == nil {
			t.Errorf("%+v: got %s %s, want an error", e, typ, id)
		}
	}
}

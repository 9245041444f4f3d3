// Package mapping turns the frames of one agent into canonical events. It is pure: no I/O, no clock, no goroutine. A vendor's words
// end here. One file per vendor and dialect.
package mapping

import (
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

// Mapper maps the frames of one vendor dialect. Safe for concurrent use on different views.
type Mapper interface {
	// Map reads f in the light of what v says was already told, and calls emit for each event that is news, in order. It never writes v:
	// emit does, through [View.Apply], before it returns, so that the next event of the same frame sees it. When emit fails, Map stops and
	// returns; what it returns then does not matter.
	//
	// The event is lent to emit, which may change it, for the call: the next one is made in its place. Who keeps it longer keeps a
	// [event.Event.Clone]; its texts are never written again. Recorded and BridgeID are left to emit, and the ID of a bridge.unmapped event.
	// An event of type reservation.ended_unseen is a finding, not yet a fact: emit decides whether and when to tell it.
	Map(v *View, f source.Frame, emit func(*event.Event) error) Outcome
}

// Outcome is what became of one content frame. Every frame has exactly one.
type Outcome uint8

// Mapped: at least one event. Repeat: well understood, and nothing new. Collided: news that cannot be told, because another fact has had its id; see
// docs/events.md. Control: protocol housekeeping. Unmapped: not understood; a bridge.unmapped event says so. Discarded is the intake's: the log
// refused the frame's events, and a gap covers it.
const (
	Mapped Outcome = iota
	Repeat
	Collided
	Control
	Unmapped
	Discarded
)

// Outcomes lists them in order, for metrics.
var Outcomes = []Outcome{Mapped, Repeat, Collided, Control, Unmapped, Discarded}

var outcomeNames = [...]string{"mapped", "repeat", "collided", "control", "unmapped", "discarded"}

// String is the outcome's metric label.
func (o Outcome) String() string { return outcomeNames[o] }

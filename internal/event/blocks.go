package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Presence says which blocks of the data document are there, by their JSON names: those in Always are never null, those in Sometimes may be, all
// others are.
type Presence struct{ Always, Sometimes []string }

// Blocks is the presence per type, for the documentation and for the tests of whoever makes events. A type that nothing tells yet has none. raw
// is left out: any event that was made of a frame has it where the configuration says so.
var Blocks = map[Type]Presence{
	SessionReady:        {Always: []string{"agent", "session"}},
	SessionLost:         {Always: []string{"agent", "session"}},
	SessionRefused:      {Always: []string{"agent", "session"}},
	SessionTokenExpired: {Always: []string{"agent", "session"}},
	SessionGap:          {Always: []string{"agent", "session", "gap"}},

	AgentActivityChanged:   {Always: []string{"agent"}},
	AgentAttributesChanged: {Always: []string{"agent"}},
	AgentCapacityChanged:   {Always: []string{"agent", "channel"}},

	ReservationCreated:     ofReservation,
	ReservationAccepted:    ofReservation,
	ReservationRejected:    ofReservation,
	ReservationTimedOut:    ofReservation,
	ReservationCanceled:    ofReservation,
	ReservationRescinded:   ofReservation,
	ReservationWrapping:    ofReservation,
	ReservationCompleted:   ofReservation,
	ReservationFailed:      {Always: []string{"agent", "task"}}, // it never came to be
	ReservationEndedUnseen: {Always: []string{"agent", "task", "reservation", "timing"}},

	TaskUpdated:               {Always: []string{"agent", "task"}},
	TaskCanceled:              {Always: []string{"agent", "task"}},
	TaskCompleted:             {Always: []string{"agent", "task"}},
	TaskWrapping:              {Always: []string{"agent", "task"}},
	TaskTransferInitiated:     ofTransfer,
	TaskTransferAttemptFailed: ofTransfer,
	TaskTransferSucceeded:     ofTransfer,
	TaskTransferFailed:        ofTransfer,
	TaskTransferCanceled:      ofTransfer,

	BridgeUnmapped: {Always: []string{"agent", "unmapped"}},
}

var (
	ofReservation = Presence{Always: []string{"agent", "task", "reservation", "timing"}, Sometimes: []string{"transfer"}}
	ofTransfer    = Presence{Always: []string{"agent", "task", "transfer"}}
)

// Check returns an error that names the first block in which data, an encoded data document, differs from p.
func (p Presence) Check(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("data document: %w", err)
	}
	for _, block := range p.Always {
		if !present(members[block]) {
			return fmt.Errorf("block %s is null, want it always", block)
		}
	}
	for name, value := range members {
		if name != "raw" && present(value) && !slices.Contains(p.Always, name) && !slices.Contains(p.Sometimes, name) {
			return fmt.Errorf("block %s is there, want null", name)
		}
	}
	return nil
}

func present(value json.RawMessage) bool { return bytes.HasPrefix(value, []byte("{")) }

package event_test

import (
	"os"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

// accepted is a usual event, with its sequence.
func accepted(b *testing.B) (*event.Event, string) {
	b.Helper()
	body, err := os.ReadFile("testdata/examples/reservation.accepted.twilio.json")
	if err != nil {
		b.Fatal(err)
	}
	e, sequence, err := event.ParseStructured(body)
	if err != nil {
		b.Fatal(err)
	}
	return e, sequence
}

// BenchmarkEncode is what is done for each event before it goes into the log.
func BenchmarkEncode(b *testing.B) {
	e, _ := accepted(b)
	var dst event.Encoded
	e.Encode(&dst)
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(&dst)
	}
}

// BenchmarkAppendStructured is what is done for each event before it goes to a broker.
func BenchmarkAppendStructured(b *testing.B) {
	e, sequence := accepted(b)
	var encoded event.Encoded
	e.Encode(&encoded)
	dst := event.AppendStructured(nil, &encoded.Header, sequence, encoded.Data)
	b.ReportAllocs()
	for b.Loop() {
		dst = event.AppendStructured(dst[:0], &encoded.Header, sequence, encoded.Data)
	}
}

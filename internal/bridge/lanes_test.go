package bridge

import (
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// awaySink is one whose broker is away. It has as many lanes as the one for JetStream.
type awaySink struct{ nullSink }

func (*awaySink) Send(b *sink.Batch) { b.Done(errors.New("the broker is away")) }

// TestAnOutageKeepsARecordPerLane: while the broker is away, each lane holds the record that it could not send, and not the piece of the log around it. What
// is held beside is bounded.
func TestAnOutageKeepsARecordPerLane(t *testing.T) {
	const (
		events = 90_000
		perKey = 16                // a new lane now and then, so that every piece of the log has the first record of some
		size   = 2 << 10           // bytes of data in each event: 175 MiB together
		most   = events * size / 2 // lanes hold 8 MiB, the log its last 16 MiB
	)
	log, err := spool.Open(spool.Options{Dir: t.TempDir(), Survives: spool.ProcessCrash})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	b, err := New(Options{BridgeID: "b"}, nil, log, map[string]sink.Sink{"away": &awaySink{}}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	data := make([]byte, size)
	for n := range events {
		e := event.Encoded{Header: event.Header{ID: fmt.Sprint(n), PartitionKey: fmt.Sprint(n / perKey), Type: event.TaskUpdated}, Data: data}
		if _, err := log.Append(spool.Normal, &e); err != nil {
			t.Fatal(err)
		}
		if n%500 == 0 {
			if err := log.Sync(); err != nil {
				t.Fatal(err)
			}
			deliver(t.Context(), b.publishers[0])
		}
	}
	grown := heap() - before
	t.Logf("the heap has grown by %d MiB", grown>>20)
	if grown > most {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, most>>20)
	}
	if n := len(b.publishers[0].lanes); n < events/perKey/2 {
		t.Errorf("only %d lanes have something to send", n)
	}
}

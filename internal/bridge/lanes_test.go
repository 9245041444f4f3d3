package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// awaySink is one whose broker is away. It has as many lanes as the one for JetStream.
type awaySink struct{ nullSink }

var errAway = errors.New("the broker is away")

func (*awaySink) Send(b *sink.Batch) { b.Done(errAway) }

// deafSink is one whose broker is away when the process starts.
type deafSink struct{ nullSink }

func (*deafSink) Landed(context.Context, []byte, func(string)) error { return errAway }

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
	before := heapInUse()
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
	grown := heapInUse() - before
	t.Logf("the heap has grown by %d MiB", grown>>20)
	if grown > most {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, most>>20)
	}
	if n := len(b.publishers[0].lanes); n < events/perKey/2 {
		t.Errorf("only %d lanes have something to send", n)
	}
}

// TestAStartWithoutBrokerKeepsARecordPerLane is the same of what an earlier process has left.
func TestAStartWithoutBrokerKeepsARecordPerLane(t *testing.T) {
	const (
		events = 90_000
		perKey = 16
		size   = 2 << 10
		most   = events * size / 2
	)
	options := spool.Options{Dir: t.TempDir(), Survives: spool.ProcessCrash}
	open := func() *spool.Disk {
		t.Helper()
		log, err := spool.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	log := open()
	if _, err := log.Cursor("deaf", spool.CursorOptions{}); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	for n := range events {
		e := event.Encoded{Header: event.Header{ID: fmt.Sprint(n), PartitionKey: fmt.Sprint(n / perKey), Type: event.TaskUpdated}, Data: data}
		if _, err := log.Append(spool.Normal, &e); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = open()
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	b, err := New(Options{BridgeID: "b"}, nil, log, map[string]sink.Sink{"deaf": &deafSink{}}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	before := heapInUse()
	deliver(t.Context(), b.publishers[0])
	grown := heapInUse() - before
	t.Logf("the heap has grown by %d MiB", grown>>20)
	if grown > most {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, most>>20)
	}
	if p := b.publishers[0]; len(p.lanes) < events/perKey/2 || !p.starting {
		t.Errorf("%d lanes have something to send, starting %t", len(p.lanes), p.starting)
	}
}

// TestRetriesAreDueOneByOne: of many lanes that wait, those whose time has come are sent, the longest due first, and the publisher sleeps until the next one.
func TestRetriesAreDueOneByOne(t *testing.T) {
	now := time.Unix(0, 0)
	p := &publisher{heart: &heart{}, lanes: map[int]*lane{}, opened: true}
	p.now, p.rand = func() time.Time { return now }, rand.New(rand.NewPCG(1, 2)).Float64
	const lanes = 1000
	for id := range lanes {
		p.retryLater(p.lane(id), 0)
	}
	last := now
	for woken := 0; woken < lanes; woken += len(p.ready) {
		p.ready = nil
		now = now.Add(p.next())
		p.wake()
		if len(p.ready) == 0 {
			t.Fatalf("%d of %d lanes were woken, and when the next was to be due none is", woken, lanes)
		}
		for _, l := range p.ready {
			if l.retryAt.Before(last) || l.retryAt.After(now) {
				t.Fatalf("lane %d, due at %v, is woken at %v, after one that was due at %v", l.id, l.retryAt, now, last)
			}
			last = l.retryAt
		}
	}
}

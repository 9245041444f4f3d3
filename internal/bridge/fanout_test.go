package bridge

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// countingSink counts what it takes; a stuck one answers nothing until it is closed.
type countingSink struct {
	plainSink
	stuck   bool
	taken   atomic.Int64
	waiting struct {
		sync.Mutex
		batches []*sink.Batch
	}
}

func (s *countingSink) Limits() sink.Limits {
	return sink.Limits{Lanes: 64, InFlight: 100, Records: 100, Bytes: 1 << 20}
}
func (s *countingSink) Lane(r *spool.Record) int { return int(r.Key % 64) }
func (s *countingSink) Send(b *sink.Batch) {
	if s.stuck {
		s.waiting.Lock()
		defer s.waiting.Unlock()
		s.waiting.batches = append(s.waiting.batches, b)
		return
	}
	s.taken.Add(int64(len(b.Records)))
	b.Done(nil)
}

func (s *countingSink) Close(context.Context) error {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	for _, b := range s.waiting.batches {
		b.Done(errors.New("closed"))
	}
	s.waiting.batches = nil
	return nil
}

// TestAStuckSinkHoldsBackOnlyItself: while one sink takes nothing, the other gets everything, and what waits for the first is on disk and not in memory.
func TestAStuckSinkHoldsBackOnlyItself(t *testing.T) {
	const (
		events = 1 << 16
		size   = 2 << 10           // bytes of data in each: 128 MiB together
		most   = events * size / 2 // what is held of them for speed is bounded, and far below that
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
	free, stuck := &countingSink{}, &countingSink{stuck: true}
	b, err := New(Options{BridgeID: "b"}, nil, log, map[string]sink.Sink{"free": free, "stuck": stuck}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()

	before := heapInUse()
	data := make([]byte, size)
	for n := range events {
		e := event.Encoded{Header: event.Header{ID: fmt.Sprint(n), PartitionKey: fmt.Sprint(n % 1000), Type: event.TaskUpdated}, Data: data}
		if _, err := log.Append(spool.Normal, &e); err != nil {
			t.Fatal(err)
		}
		for n%1024 == 0 && free.taken.Load() < int64(n)-4096 { // as fast as the free sink takes them
			runtime.Gosched()
		}
	}
	for free.taken.Load() < events || b.Status().Sinks["free"].Unconfirmed > 0 {
		runtime.Gosched()
	}
	if grown := heapInUse() - before; grown > most {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, most>>20)
	} else {
		t.Logf("the heap has grown by %d MiB", grown>>20)
	}
	if n := b.Status().Sinks["stuck"].Unconfirmed; n != events {
		t.Errorf("%d events wait for the stuck sink, want all %d", n, events)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// heapInUse is what is in use after a collection, in bytes.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

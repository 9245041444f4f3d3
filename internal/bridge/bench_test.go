//go:build unix

package bridge

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// BenchmarkWholeWay is flood: messages as fast as the bridge takes them, with the log as it is shipped, its writer, the publisher and the keeper
// beside. cpu-ns/op is of the whole process.
func BenchmarkWholeWay(b *testing.B) {
	const ahead = 2048 // of the sink at most: as many as a sink that keeps up leaves in memory
	w := newWholeWay(b, spool.Options{})
	ctx, stop := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.publisher.run(ctx) })
	wg.Go(func() { w.keep(ctx) })
	b.ReportAllocs()
	began := cpuTime(b)
	for b.Loop() {
		w.traffic.next()
		if w.traffic.told%64 != 0 {
			continue
		}
		for int64(w.traffic.told)-w.sink.sent.Load() > ahead {
			<-w.sink.moved
		}
	}
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
	if err := w.log.Sync(); err != nil {
		b.Error(err)
	}
	drainCtx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	if err := w.publisher.drained(drainCtx); err != nil {
		b.Error(err)
	}
	stop()
	wg.Wait()
	w.publisher.saves.Wait()
}

// BenchmarkLanes is the publisher alone: 64 records at a time, of 1,000 keys, go through lanes to a sink that answers at once.
func BenchmarkLanes(b *testing.B) {
	const together = 64
	s := &nullSink{moved: make(chan struct{}, 1)}
	h, err := New(Options{BridgeID: "b"}, nil, spool.NewMemory(spool.MemoryOptions{}), map[string]sink.Sink{"null": s}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	cursor := newSteadyCursor()
	p := newPublisher(h.heart, "steady", cursor, s)
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		if n%together == 0 {
			cursor.ready = together
			deliver(b.Context(), p)
		}
	}
	p.saves.Wait()
	if want := b.N / together * together; cursor.done != want {
		b.Errorf("got %d records done, want %d", cursor.done, want)
	}
}

// steadyCursor returns the same records again and again, at ever new positions.
type steadyCursor struct {
	records []spool.Record
	at      spool.Pos
	ready   int // to be returned
	done    int
}

func newSteadyCursor() *steadyCursor {
	c := &steadyCursor{at: 1}
	for i := range tasksAtATime {
		c.records = append(c.records, spool.Record{
			Key:    spool.Hash(fmt.Sprintf("WT%032d", i)),
			Header: event.Header{ID: fmt.Sprintf("WR%032d:accepted", i), Type: event.ReservationAccepted, Recorded: 1},
			Data:   make([]byte, 1092),
		})
	}
	return c
}

func (c *steadyCursor) Next(limit int) ([]spool.Record, error) {
	from := int(c.at) % len(c.records)
	n := min(limit, c.ready, len(c.records)-from)
	next := c.records[from : from+n]
	for i := range next {
		next[i].Pos = c.at
		c.at++
	}
	c.ready -= n
	return next, nil
}

func (c *steadyCursor) Read(asked []spool.Pos) ([]spool.Record, error) {
	records := make([]spool.Record, len(asked))
	for i, pos := range asked {
		records[i] = c.records[int(pos)%len(c.records)]
	}
	return records, nil
}

func (c *steadyCursor) Done(spool.Pos)                     { c.done++ }
func (*steadyCursor) Ready() <-chan struct{}               { return nil }
func (*steadyCursor) Replaying() bool                      { return false }
func (*steadyCursor) Mark() []byte                         { return nil }
func (*steadyCursor) Save([]byte) error                    { return nil }
func (*steadyCursor) Pending() (int, int64, event.Instant) { return 0, 0, 0 }

// cpuTime is what the process has used.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

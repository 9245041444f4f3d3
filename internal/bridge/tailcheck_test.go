package bridge

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// askedSink stores what it is sent, and does not know of the first batch of each lane whether it did.
type askedSink struct {
	plainSink
	doubted map[int]bool // lanes
	landed  func(ctx context.Context, found func(id string)) error
}

func (s *askedSink) Send(b *sink.Batch) {
	s.stored = append(s.stored, b.Records...)
	if b.FirstSent.IsZero() && !s.doubted[b.Lane] {
		b.FirstSent, b.Place = time.Now(), []byte("place")
		s.doubted[b.Lane] = true
		b.Done(sink.ErrUnsure)
		return
	}
	b.Done(nil)
}

func (s *askedSink) Mark([]*sink.Batch) []byte { return []byte("mark") }

func (s *askedSink) Landed(ctx context.Context, _ []byte, found func(id string)) error {
	return s.landed(ctx, found)
}

// asked is a bridge that is to deliver so many events, each with a key of its own, to s.
func asked(t *testing.T, s *askedSink, events int) *Bridge {
	t.Helper()
	s.doubted = map[int]bool{}
	log := spool.NewMemory(spool.MemoryOptions{})
	b, err := New(Options{BridgeID: "b"}, nil, log, map[string]sink.Sink{"asked": s}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for n := range events {
		e := event.Encoded{Header: event.Header{ID: fmt.Sprint(n), PartitionKey: fmt.Sprint(n), Type: event.TaskUpdated}, Data: []byte("{}")}
		if _, err := log.Append(spool.Normal, &e); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// TestPartLost: where a part of the broker's log is lost, what the rest holds is not sent again, and what it does not hold is.
func TestPartLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 64
		s := &askedSink{}
		lost := func(lane int) bool { return lane%2 == 1 }
		want := map[string]int{} // how often each is sent
		s.landed = func(_ context.Context, found func(id string)) error {
			if len(s.stored) == 0 { // the question of the start
				return nil
			}
			for _, r := range s.stored {
				if want[r.Header.ID] = 2; !lost(s.Lane(&r)) {
					want[r.Header.ID] = 1
					found(r.Header.ID)
				}
			}
			return fmt.Errorf("partition 1 is gone: %w", sink.ErrBrokerLost)
		}
		b := asked(t, s, events)
		for range 3 { // after the waits of retries, too
			deliver(t.Context(), b.publishers[0])
			time.Sleep(time.Minute)
		}
		got := map[string]int{}
		for _, r := range s.stored {
			got[r.Header.ID]++
		}
		for id := range got {
			if want[id] == 0 {
				want[id] = 1 // behind the first batch of its lane
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) != events {
			t.Errorf("got %d of %d events; how often each was sent (-want +got):\n%s", len(got), events, diff)
		}
		if n := testutil.ToFloat64(b.publishers[0].meters.brokerLost); n != 1 {
			t.Errorf("told %v losses, want 1", n)
		}
		if n := b.Status().Sinks["asked"].Unconfirmed; n != 0 {
			t.Errorf("%d events are not confirmed", n)
		}
	})
}

// TestNothingAsked: what the broker holds is read only where something may have landed.
func TestNothingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads []bool
		s := &askedSink{landed: func(_ context.Context, found func(id string)) error {
			reads = append(reads, found != nil)
			return nil
		}}
		b := asked(t, s, 0)
		deliver(t.Context(), b.publishers[0])
		if diff := cmp.Diff([]bool{false}, reads); diff != "" {
			t.Errorf("an empty spool: was to be read (-want +got):\n%s", diff)
		}
		reads = nil
		b = asked(t, s, 1)
		for range 2 {
			deliver(t.Context(), b.publishers[0])
			time.Sleep(time.Minute)
		}
		if diff := cmp.Diff([]bool{true, true}, reads); diff != "" { // what an earlier process may have sent; what this one has
			t.Errorf("one event: was to be read (-want +got):\n%s", diff)
		}
	})
}

// TestALongReading: a broker may take its time to say what it holds.
func TestALongReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &askedSink{landed: func(ctx context.Context, _ func(id string)) error {
			select {
			case <-time.After(time.Hour):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		b := asked(t, s, 1)
		p := b.publishers[0]
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.run(ctx) })
		time.Sleep(time.Minute)
		if n := testutil.ToFloat64(p.meters.records); n != 1 {
			t.Errorf("meanwhile the gauge says that %v events wait, want 1", n)
		}
		time.Sleep(3 * time.Hour)
		if n := b.Status().Sinks["asked"].Unconfirmed; n != 0 {
			t.Errorf("%d events are not confirmed", n)
		}
		stop()
		running.Wait()
		p.saves.Wait()
	})
}

package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quietSource is live at once and then receives a beat every second.
type quietSource struct{}

func (quietSource) Serve(ctx context.Context, _ *source.Agent, in source.Intake) error {
	in.Up(source.Live, time.Now(), time.Now().Add(time.Minute))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			in.Beat(source.Live, time.Now())
		}
	}
}

var quiet = Feed{Source: quietSource{}, Mapper: rawMapper{}}

// loudFeed is live at once and then receives a frame every 10 ms, each of them news.
type loudFeed struct{}

func (loudFeed) Serve(ctx context.Context, _ *source.Agent, in source.Intake) error {
	in.Up(source.Live, time.Now(), time.Time{})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			in.Frame(source.Frame{Feed: source.Live, Body: fmt.Appendf(nil, "R%d", n), Received: time.Now()})
		}
	}
}

func (loudFeed) Map(v *mapping.View, f source.Frame, emit func(*event.Event) error) mapping.Outcome {
	id := v.Agent.ID + string(f.Body)
	_ = emit(toyEvent(v, event.ReservationCreated, id, id, "0", event.OriginSocket))
	return mapping.Mapped
}

// plainSink keeps what it is sent; while broken it refuses.
type plainSink struct {
	stored []spool.Record
	broken atomic.Bool
	closed bool
}

func (*plainSink) Limits() sink.Limits {
	return sink.Limits{Lanes: 8, InFlight: 8, Records: 1, Bytes: 1 << 20}
}
func (*plainSink) Open(context.Context) error { return nil }
func (*plainSink) Lane(r *spool.Record) int   { return int(r.Key % 8) }
func (s *plainSink) Send(b *sink.Batch) {
	if s.broken.Load() {
		b.Done(errors.New("no broker"))
		return
	}
	s.stored = append(s.stored, b.Records...)
	b.Done(nil)
}
func (*plainSink) Mark([]*sink.Batch) []byte                          { return nil }
func (*plainSink) Landed(context.Context, []byte, func(string)) error { return nil }
func (s *plainSink) Close(context.Context) error                      { s.closed = true; return nil }

func runFor(t *testing.T, s *plainSink, f Feed, log spool.Log, d time.Duration) error {
	t.Helper()
	b, err := New(Options{BridgeID: "b", Drain: 10 * time.Second}, map[string]Feed{"quiet": f}, log, map[string]sink.Sink{"plain": s},
		&letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetRoster(map[string][]source.Agent{"quiet": {{ID: "A"}, {ID: "B"}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	err = b.Run(ctx)
	if !s.closed {
		t.Error("the sink was not closed")
	}
	return err
}

// lossySink is a broker that has lost what it had confirmed, which it reports once.
type lossySink struct {
	plainSink
	reported bool
}

func (s *lossySink) Send(b *sink.Batch) {
	if !s.reported {
		s.reported = true
		b.Done(fmt.Errorf("stream re-created: %w", sink.ErrBrokerLost))
		return
	}
	s.plainSink.Send(b)
}

// A loss that the sink finds while it sends is counted and shown, and what was to be sent is.
func TestBrokerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reg, log := &lossySink{}, prometheus.NewRegistry(), spool.NewMemory(spool.MemoryOptions{})
		b, err := New(Options{BridgeID: "b", Drain: 10 * time.Second}, map[string]Feed{"quiet": quiet}, log, map[string]sink.Sink{"lossy": s}, &letterBox{}, zap.NewNop(), reg)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Status().Sinks["lossy"].LostAt; !got.IsZero() {
			t.Errorf("at the start: got a loss at %v", got)
		}
		if err := b.SetRoster(map[string][]source.Agent{"quiet": {{ID: "A", Source: "quiet"}}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := b.Status().Sinks["lossy"].LostAt; got.Before(start) {
			t.Errorf("LostAt: got %v, want it after %v", got, start)
		}
		if got := testutil.ToFloat64(b.publishers[0].meters.brokerLost); got != 1 {
			t.Errorf("broker_lost_total: got %v, want 1", got)
		}
		if first := s.stored[0].Header.Type; first != event.SessionReady {
			t.Errorf("first stored: got %s, want %s, which was sent when the loss was found", first, event.SessionReady)
		}
	})
}

// TestRunStopsInOrder: sessions are renewed without a gap while it runs; at the end planned gaps are told and delivered, then the sink is closed.
func TestRunStopsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &plainSink{}
		if err := runFor(t, s, quiet, spool.NewMemory(spool.MemoryOptions{}), 3*time.Minute); err != nil {
			t.Errorf("got %v, want a clean stop", err)
		}
		counts := map[event.Type]int{}
		for _, r := range s.stored {
			counts[r.Header.Type]++
			if r.Header.Type != event.SessionGap {
				continue
			}
			e, err := (&event.Encoded{Header: r.Header, Data: r.Data}).Decode()
			if err != nil {
				t.Fatal(err)
			}
			if e.Data.Gap.Cause != event.CauseStop {
				t.Errorf("got a gap of cause %s, want only the planned ones", e.Data.Gap.Cause)
			}
		}
		if counts[event.SessionGap] != 2 || counts[event.SessionLost] != 2 {
			t.Errorf("got %v, want a planned gap and a session.lost for each of 2 agents", counts)
		}
		if n := counts[event.SessionReady]; n < 6 {
			t.Errorf("got %d session.ready in 3 min with sessions that last one, want at least 3 for each of 2 agents", n)
		}
	})
}

func TestRunSaysWhatItCouldNotDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &plainSink{}
		s.broken.Store(true)
		err := runFor(t, s, quiet, spool.NewMemory(spool.MemoryOptions{}), time.Minute)
		if err == nil || !strings.Contains(err.Error(), "events not confirmed") {
			t.Errorf("got %v, want an error that counts what is lost", err)
		}
		if took := time.Since(began); took > time.Minute+11*time.Second {
			t.Errorf("stopping took %v, want at most the 10 s of Options.Drain", took-time.Minute)
		}
	})
}

// TestStopTellsWhatTheFullLogHadNoRoomFor: the log fills while the broker is away, reserve and all. When the broker is back at the end, the gaps that
// were owed are told with the room that delivering makes.
func TestStopTellsWhatTheFullLogHadNoRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &plainSink{}
		s.broken.Store(true)
		back := time.AfterFunc(time.Minute+time.Second, func() { s.broken.Store(false) })
		defer back.Stop()
		log := spool.NewMemory(spool.MemoryOptions{Bytes: 16 << 10, Reserve: 512})
		if err := runFor(t, s, Feed{Source: loudFeed{}, Mapper: loudFeed{}}, log, time.Minute); err != nil {
			t.Errorf("got %v, want a clean stop", err)
		}
		gaps := map[string]bool{}
		for _, r := range s.stored {
			if r.Header.Type == event.SessionGap {
				gaps[r.Header.Agent] = true
			}
		}
		if len(gaps) != 2 {
			t.Errorf("got gaps of %d agents, want of both", len(gaps))
		}
	})
}

// TestASmallLogIsNotFullOfWhatIsDone: a sink takes everything at once, and the log holds less than what comes between two checkpoints by time.
func TestASmallLogIsNotFullOfWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &plainSink{}
		log := spool.NewMemory(spool.MemoryOptions{Bytes: 1536 << 10, Reserve: 16 << 10, Manual: true})
		log.Commit(1 << 40)
		if err := runFor(t, s, Feed{Source: loudFeed{}, Mapper: loudFeed{}}, &committing{Memory: log}, time.Minute); err != nil {
			t.Error(err)
		}
		news := 0
		for _, r := range s.stored {
			if r.Header.Type == event.ReservationCreated {
				news++
			}
			if strings.Contains(string(r.Data), string(event.CauseSpoolFull)) {
				t.Fatalf("the log was full at %d records: %s", len(s.stored), r.Data)
			}
		}
		if news < 11_000 {
			t.Errorf("got %d events, want what two agents were told in a minute", news)
		}
	})
}

// unkept is a log that is full of what is done, on a disk that takes no checkpoint.
type unkept struct {
	*spool.Memory
	tries int
}

func (*unkept) Overdue() bool { return true }

func (u *unkept) Checkpoint(func(io.Writer) error) error {
	u.tries++
	return errors.New("no space left on device")
}

// A checkpoint that fails is tried again, with the time between that it always has.
func TestAFailingCheckpointIsNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &unkept{Memory: spool.NewMemory(spool.MemoryOptions{})}
		if err := runFor(t, &plainSink{}, quiet, log, time.Minute); err != nil {
			t.Error(err)
		}
		if log.tries < 5 || log.tries > 8 {
			t.Errorf("got %d tries in a minute, want one every ten seconds", log.tries)
		}
	})
}

// TestALoneEventIsSentAtOnce: what nothing follows must not wait for something to follow.
func TestALoneEventIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &plainSink{}
		log := spool.NewMemory(spool.MemoryOptions{})
		b, err := New(Options{BridgeID: "b"}, nil, log, map[string]sink.Sink{"plain": s}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		for n := range 5 {
			<-time.After(300 * time.Millisecond) // virtual: between the ticks of every timer
			synctest.Wait()
			var e event.Encoded
			(&event.Event{ID: fmt.Sprint(n), Type: event.TaskUpdated, PartitionKey: fmt.Sprint(n)}).Encode(&e)
			if _, err := log.Append(spool.Normal, &e); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := len(s.stored); got != n+1 {
				t.Errorf("after %v: got %d events at the broker, want %d without any time passing", time.Since(began), got, n+1)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

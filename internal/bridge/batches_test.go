package bridge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// pacedSink is a broker with partitions, as Kafka: a batch is answered after a while.
type pacedSink struct {
	plainSink
	limits sink.Limits
	takes  time.Duration // until the answer; 0: the test answers

	sent []sending
	out  []*sink.Batch // not answered
	most int           // of them
}

type sending struct {
	at      time.Time
	records int
}

func (s *pacedSink) Limits() sink.Limits         { return s.limits }
func (s *pacedSink) Lane(r *spool.Record) int    { return int(r.Key) % s.limits.Lanes }
func (s *pacedSink) Close(context.Context) error { return nil }

func (s *pacedSink) Send(b *sink.Batch) {
	s.sent = append(s.sent, sending{time.Now(), len(b.Records)})
	if s.takes > 0 {
		time.AfterFunc(s.takes, func() { b.Done(nil) })
		return
	}
	s.out = append(s.out, b)
	s.most = max(s.most, len(s.out))
}

// stream is a bridge without sources on a log in files, in a bubble of synctest.
type stream struct {
	log  *spool.Disk
	sink *pacedSink
	n    int // events so far
}

// inStream calls do while a publisher delivers what is appended.
func inStream(t *testing.T, s *pacedSink, do func(*stream)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log, err := spool.Open(spool.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(Options{BridgeID: "b"}, nil, log, map[string]sink.Sink{"facts": s}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.publishers[0].run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
			b.publishers[0].saves.Wait()
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		}()
		w := &stream{log: log, sink: s}
		w.append(t) // the first segment is made, the sink opened
		rest(time.Second)
		do(w)
	})
}

// rest lets d pass, and everything happen that is due then.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// append accepts an event whose key is its own.
func (w *stream) append(t *testing.T) {
	t.Helper()
	w.n++
	e := event.Encoded{Header: event.Header{ID: fmt.Sprint(w.n), PartitionKey: fmt.Sprint(w.n), Type: event.TaskUpdated}, Data: []byte(`{}`)}
	if _, err := w.log.Append(spool.Normal, &e); err != nil {
		t.Fatal(err)
	}
}

// TestLinger: the log's groups are what a linger is elsewhere. Of a steady stream, events come to the sink in batches also where the broker answers faster than
// events come for a partition; a lone event goes at once.
func TestLinger(t *testing.T) {
	const (
		partitions = 4
		every      = 100 * time.Microsecond // an event: one in 0.4 ms for each partition
		answer     = every                  // so that no partition is still busy when its next event comes
		events     = 4000
		gather     = 2 * time.Millisecond // of the log: 20 events, 5 for each partition
	)
	s := &pacedSink{limits: sink.Limits{Lanes: partitions, InFlight: partitions, Records: 450, Bytes: 1 << 20}, takes: answer}
	inStream(t, s, func(w *stream) {
		for range 10 {
			rest(time.Second)
			before := len(s.sent)
			w.append(t)
			accepted := time.Now()
			synctest.Wait()
			if got := s.sent[before:]; len(got) != 1 || !got[0].at.Equal(accepted) {
				t.Errorf("a lone event: got %+v, want it sent at %v", got, accepted)
			}
			rest(answer)
		}
		rest(time.Second)
		before, began := len(s.sent), time.Now()
		for range events {
			w.append(t)
			time.Sleep(every)
		}
		took := time.Since(began)
		rest(time.Second)
		batches, records := s.sent[before:], 0
		for _, b := range batches {
			records += b.records
		}
		t.Logf("%d events in %d batches", records, len(batches))
		if records != events {
			t.Errorf("got %d events, want %d", records, events)
		}
		// A batch for each partition and group, and those of a partition that was busy when the group came.
		if most := partitions * int(took/gather+1); len(batches) > most+most/4 {
			t.Errorf("got %d batches, want some %d", len(batches), most)
		}
	})
}

// TestInFlight: no more batches are out than the sink wants, however many lanes have something to send, and all are used.
func TestInFlight(t *testing.T) {
	const lanes, most, events = 1000, 64, 1500
	s := &pacedSink{limits: sink.Limits{Lanes: lanes, InFlight: most, Records: 450, Bytes: 1 << 20}}
	inStream(t, s, func(w *stream) {
		for range events {
			w.append(t)
		}
		rest(10 * time.Millisecond)
		records := 0
		for len(s.out) > 0 {
			if left := w.n - records; left >= events/2 && len(s.out) != most {
				t.Fatalf("got %d batches out with %d events left, want %d", len(s.out), left, most)
			}
			out := s.out[:min(len(s.out), 1+len(s.out)/2)]
			s.out = append([]*sink.Batch(nil), s.out[len(out):]...)
			for _, b := range out {
				records += len(b.Records)
				b.Done(nil)
			}
			rest(10 * time.Millisecond)
		}
		if records != w.n || s.most != most {
			t.Errorf("got %d of %d events, %d batches out at most, want %d", records, w.n, s.most, most)
		}
	})
}

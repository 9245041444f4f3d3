package bridge

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// stopFast runs a bridge that does not drain for a minute, and returns what it says and how long its end took.
func stopFast(t *testing.T, log spool.Log, s sink.Sink) (took time.Duration, err error) {
	t.Helper()
	b, err := New(Options{BridgeID: "b"}, map[string]Feed{"quiet": quiet}, log, map[string]sink.Sink{"plain": s}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetRoster(map[string][]source.Agent{"quiet": {{ID: "A"}, {ID: "B"}}}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = b.Run(ctx)
	return time.Since(began) - time.Minute, err
}

// TestAFastStopLeavesTheRestToTheNextProcess: the broker is away. What was accepted is in the log, with the planned gaps; the next process delivers it,
// tells no crash and meets nobody anew.
func TestAFastStopLeavesTheRestToTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := spool.NewMemory(spool.MemoryOptions{Manual: true})
		log.Commit(1 << 40)
		away := &plainSink{}
		away.broken.Store(true)
		took, err := stopFast(t, &committing{Memory: log}, away)
		if err != nil || took > 2*time.Second {
			t.Errorf("got %v after %v, want a clean stop within 2 s", err, took)
		}
		back := &plainSink{}
		if _, err := stopFast(t, &committing{Memory: log.Crash(1 << 40)}, back); err != nil {
			t.Error(err)
		}
		var told []string
		for _, r := range back.stored {
			if strings.Contains(r.Header.Subject, ":gap:") {
				told = append(told, r.Header.Agent+r.Header.Subject[strings.LastIndex(r.Header.Subject, ":"):]+r.Header.ID[strings.LastIndex(r.Header.ID, ":"):])
			}
		}
		if len(told) < 4 { // two opened, two closed; those of the second stop may not be delivered any more
			t.Errorf("got gap records %v, want those of the first stop and their ends", told)
		}
		for _, r := range back.stored {
			if strings.Contains(string(r.Data), `"cause":"crash"`) {
				t.Errorf("got a crash: %s", r.Header.ID)
			}
		}
	})
}

// muteSink is a broker that takes what it is sent and does not answer.
type muteSink struct {
	plainSink
	out []*sink.Batch
}

func (s *muteSink) Send(b *sink.Batch) { s.out = append(s.out, b) }

func (s *muteSink) Close(ctx context.Context) error {
	<-ctx.Done()
	for _, b := range s.out {
		b.Done(ctx.Err())
	}
	return fmt.Errorf("%d batches were not confirmed: %w", len(s.out), ctx.Err())
}

// TestAFastStopLeavesWhatIsUnderWay: a broker that does not answer while the bridge stops makes that no failure: the next process has what was under way.
func TestAFastStopLeavesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := spool.NewMemory(spool.MemoryOptions{Manual: true})
		log.Commit(1 << 40)
		mute := &muteSink{}
		took, err := stopFast(t, &committing{Memory: log}, mute)
		if err != nil || took > 2*time.Second || len(mute.out) == 0 {
			t.Fatalf("got %v after %v with %d batches out, want a clean stop within 2 s with some", err, took, len(mute.out))
		}
		back := &plainSink{}
		if _, err := stopFast(t, &committing{Memory: log.Crash(1 << 40)}, back); err != nil {
			t.Error(err)
		}
		for _, b := range mute.out {
			for _, r := range b.Records {
				if !slices.ContainsFunc(back.stored, func(s spool.Record) bool { return s.Header.ID == r.Header.ID }) {
					t.Errorf("%s was under way and is not delivered", r.Header.ID)
				}
			}
		}
	})
}

// A disk that hangs does not keep a stopping bridge.
func TestAFastStopDoesNotWaitForAHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		log := &committing{Memory: spool.NewMemory(spool.MemoryOptions{}), hang: hang}
		took, err := stopFast(t, log, &plainSink{})
		if err == nil || took > 2*time.Second {
			t.Errorf("got %v after %v, want an error within 2 s", err, took)
		}
		close(hang)
	})
}

// committing makes everything durable as it comes, and its checkpoints hang while hang is open.
type committing struct {
	*spool.Memory
	hang chan struct{}
}

func (c *committing) Cursor(name string, o spool.CursorOptions) (spool.Cursor, error) {
	cursor, err := c.Memory.Cursor(name, o)
	return &prompt{cursor, c}, err
}

func (c *committing) Checkpoint(save func(io.Writer) error) error {
	if c.hang != nil {
		<-c.hang
	}
	err := c.Memory.Checkpoint(save)
	c.Commit(1 << 40)
	return err
}

// prompt commits before each look at the log.
type prompt struct {
	spool.Cursor
	log *committing
}

func (p *prompt) Next(limit int) ([]spool.Record, error) {
	p.log.Commit(1 << 40)
	return p.Cursor.Next(limit)
}

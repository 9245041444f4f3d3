package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// theSink gives records to the bridge's sink as the publisher does: a lane's next batch is what has come while the one before it was out.
type theSink struct {
	sink    *kafka.Sink
	confirm confirm
	limits  sink.Limits
	kicked  chan struct{}
	stop    context.CancelFunc
	pumping sync.WaitGroup

	mu    sync.Mutex
	lanes []lane
	out   int
}

// lane is what waits for its turn.
type lane struct {
	queue []spool.Record
	again *sink.Batch // to be sent before the queue
	busy  bool        // a batch is out, or waits for its time to be sent again
}

// retryAfter is the publisher's first pause before it sends a batch again.
const retryAfter = 50 * time.Millisecond

func openSink(ctx context.Context, o Options, c confirm) (client, error) {
	var cfg kafka.Config
	cfg.SetDefaults()
	cfg.Brokers, cfg.Topic = o.Brokers, o.Topic
	s, err := kafka.New(cfg, nil, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	s.Connect(ctx)
	for err := s.Open(ctx); err != nil; err = s.Open(ctx) { // as the publisher does
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx), s.Close(ctx))
		}
	}
	t := &theSink{sink: s, confirm: c, limits: s.Limits(), kicked: make(chan struct{}, 1)}
	t.lanes = make([]lane, t.limits.Lanes)
	ctx, t.stop = context.WithCancel(ctx)
	t.pumping.Go(func() { t.pump(ctx) })
	return t, nil
}

func (t *theSink) send(records []spool.Record) {
	t.mu.Lock()
	for i := range records {
		l := &t.lanes[t.sink.Lane(&records[i])]
		l.queue = append(l.queue, records[i])
	}
	t.mu.Unlock()
	t.kick()
}

func (t *theSink) kick() {
	select {
	case t.kicked <- struct{}{}:
	default:
	}
}

// pump is the one goroutine that calls Send.
func (t *theSink) pump(ctx context.Context) {
	for {
		select {
		case <-t.kicked:
		case <-ctx.Done():
			return
		}
		for i := range t.lanes {
			if b := t.next(i); b != nil {
				b.Out()
				t.sink.Send(b)
			}
		}
	}
}

// next is what a lane is to send now, if anything.
func (t *theSink) next(i int) *sink.Batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &t.lanes[i]
	if l.busy || t.out == t.limits.InFlight || len(l.queue) == 0 && l.again == nil {
		return nil
	}
	l.busy = true
	t.out++
	if b := l.again; b != nil {
		l.again = nil
		return b
	}
	n, bytes := 0, 0
	for n < min(len(l.queue), t.limits.Records) && (n == 0 || bytes+len(l.queue[n].Data) <= t.limits.Bytes) {
		bytes += len(l.queue[n].Data)
		n++
	}
	b := sink.NewBatch(i, l.queue[:n:n], t.done)
	l.queue = l.queue[n:]
	return b
}

func (t *theSink) done(b *sink.Batch, err error) {
	var rejected *sink.Rejected
	switch {
	case err == nil:
		t.confirm(b.Lane, b.Records[0].Pos, len(b.Records), nil)
		t.free(b.Lane, nil)
	case errors.Is(err, sink.ErrUnsure), errors.Is(err, sink.ErrBrokerLost), errors.Is(err, sink.ErrLanes), errors.As(err, &rejected):
		t.confirm(b.Lane, 0, 0, fmt.Errorf("partition %d: %w", b.Lane, err))
	default:
		time.AfterFunc(max(retryAfter, retry.Delay(err)), func() { t.free(b.Lane, b) })
	}
}

// free makes a lane ready for its next batch.
func (t *theSink) free(i int, again *sink.Batch) {
	t.mu.Lock()
	t.lanes[i].busy, t.lanes[i].again = false, again
	t.out--
	t.mu.Unlock()
	t.kick()
}

func (t *theSink) close(ctx context.Context) error {
	t.stop()
	t.pumping.Wait()
	return t.sink.Close(ctx)
}

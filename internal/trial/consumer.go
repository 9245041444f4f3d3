package trial

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
)

// consumer reads the stream from its beginning, as a user's program would, and shows the judge every message once.
type consumer struct {
	url   string
	judge *ledger.Judge
	log   *zap.Logger

	mu     sync.Mutex
	landed map[event.Type]int
	last   []*event.Event // the newest few
	broken int            // messages that are no events
	next   uint64         // stream sequence to go on from
}

func newConsumer(url string, j *ledger.Judge, log *zap.Logger) *consumer {
	return &consumer{url: url, judge: j, log: log, next: 1, landed: map[event.Type]int{}}
}

// run consumes until ctx ends, and begins again where it was whenever the broker was away.
func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.consume(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("consumer begins again", zap.Error(err))
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
		}
	}
}

func (c *consumer) consume(ctx context.Context) error {
	conn, err := nats.Connect(c.url, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ordered, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: c.next,
	})
	if err != nil {
		return err
	}
	messages, err := ordered.Messages(jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		m, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		c.take(m.Data(), meta)
		c.next = meta.Sequence.Stream + 1
	}
}

const lastShown = 6

func (c *consumer) take(body []byte, meta *jetstream.MsgMetadata) {
	e, _, err := event.ParseStructured(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.broken++
		c.log.Error("message on the stream is no event", zap.Error(err))
		return
	}
	c.landed[e.Type]++
	c.last = append(c.last, e)
	if len(c.last) > lastShown {
		c.last = c.last[1:]
	}
	c.judge.Land(ledger.Landed{Event: e, Stored: meta.Timestamp, Sequence: meta.Sequence.Stream})
}

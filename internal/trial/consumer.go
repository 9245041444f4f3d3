package trial

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
)

// reader reads all that a sink has stored, from its beginning, as a user's program would.
type reader interface {
	// read hands over each message once, in the order in which it is stored, and returns when ctx ends or when the broker is away. Called again, it goes on
	// where it was.
	read(ctx context.Context, take func(body []byte, stored time.Time, sequence uint64)) error
}

// consumer shows the judge every message once.
type consumer struct {
	reader reader
	judge  *ledger.Judge
	log    *zap.Logger

	mu     sync.Mutex
	landed map[event.Type]int
	last   []*event.Event // the newest few
	broken int            // messages that are no events
}

func newConsumer(r reader, j *ledger.Judge, log *zap.Logger) *consumer {
	return &consumer{reader: r, judge: j, log: log, landed: map[event.Type]int{}}
}

// run consumes until ctx ends, and begins again where it was whenever the broker was away.
func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.reader.read(ctx, c.take); err != nil && ctx.Err() == nil {
			c.log.Debug("consumer begins again", zap.Error(err))
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
		}
	}
}

const lastShown = 6

func (c *consumer) take(body []byte, stored time.Time, sequence uint64) {
	e, _, err := event.ParseStructured(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.broken++
		c.log.Error("message is no event", zap.Error(err))
		return
	}
	c.landed[e.Type]++
	c.last = append(c.last, e)
	if len(c.last) > lastShown {
		c.last = c.last[1:]
	}
	c.judge.Land(ledger.Landed{Event: e, Stored: stored, Sequence: sequence})
}

// seen is how many events have landed, and the newest few.
func (c *consumer) seen() (landed int, last []*event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.landed {
		landed += n
	}
	return landed, slices.Clone(c.last)
}

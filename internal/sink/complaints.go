package sink

import (
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
)

// complainEvery is the shortest time between two lines of the log about the same reason.
const complainEvery = time.Minute

// Complaints log what is wrong with a broker without flooding: each event that waits makes an error every few seconds. The zero value is ready. Not safe for
// concurrent use.
type Complaints struct{ byReason map[string]complaint }

// complaint is what was logged of one reason.
type complaint struct {
	at    time.Time
	since int // not logged since
}

// Tell logs the first error of a reason (retry.ReasonOf) and then one a minute, with how many there were. about says which broker.
func (c *Complaints) Tell(log *zap.Logger, message string, err error, about zap.Field) {
	reason, now := retry.ReasonOf(err), time.Now()
	told := c.byReason[reason]
	if now.Sub(told.at) < complainEvery {
		told.since++
	} else {
		log.Error(message, about, zap.String("reason", reason), zap.Int("since_last_told", told.since), zap.Error(err))
		told = complaint{at: now}
	}
	if c.byReason == nil {
		c.byReason = map[string]complaint{}
	}
	c.byReason[reason] = told
}

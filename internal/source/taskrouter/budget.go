package taskrouter

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// filteredRate is the vendor's limit for listings by an expression, per second (protocol, section 13).
const filteredRate = 3

// spentPause is how long to stay away from the REST API once an answer says that its rate limit is used up: the limits that are known count per second.
const spentPause = time.Second

// budget paces the REST requests of one source. Safe for concurrent use.
type budget struct {
	all, filtered *rate.Limiter

	mu    sync.Mutex
	until time.Time // no request before: the vendor has said so
}

func newBudget(perSecond float64) *budget {
	return &budget{all: rate.NewLimiter(rate.Limit(perSecond), 1), filtered: rate.NewLimiter(filteredRate, 1)}
}

// errBudget: ctx ends, or would end, before the budget has room.
var errBudget = errors.New("no room in the request budget in time")

// wait returns nil when a request may be made, else [errBudget].
func (b *budget) wait(ctx context.Context, filtered bool) error {
	if filtered {
		if b.filtered.Wait(ctx) != nil {
			return errBudget
		}
	}
	if b.all.Wait(ctx) != nil {
		return errBudget
	}
	b.mu.Lock()
	until := b.until
	b.mu.Unlock()
	if !pause(ctx, time.Until(until)) {
		return errBudget
	}
	return nil
}

// answered takes note of what an answer says about the vendor's limits.
func (b *budget) answered(header http.Header, f *failure) {
	var away time.Duration
	if header.Get("X-Rate-Limit-Remaining") == "0" {
		away = spentPause
	}
	if f != nil {
		away = max(away, f.after)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := time.Now().Add(away); away > 0 && until.After(b.until) {
		b.until = until
	}
}

package taskrouter

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	restPerSecond        = 100 // our choice: the vendor shows its limits in its console only (section 13)
	expressionsPerSecond = 3   // lists filtered by an expression
)

// limit counts requests of one second.
type limit struct {
	perSecond int
	second    int64
	count     int
}

// take is ok while the second's budget lasts.
func (l *limit) take(now time.Time) (remaining int, ok bool) {
	if second := now.Unix(); second != l.second {
		l.second, l.count = second, 0
	}
	l.count++
	return max(0, l.perSecond-l.count), l.count <= l.perSecond
}

type limits struct{ all, byExpression limit }

// take charges one REST request and writes what is left into the answer's header; 429 when nothing is.
func (l *limits) take(header http.Header, byExpression bool, now time.Time) error {
	charged := &l.all
	remaining, ok := l.all.take(now)
	if byExpression && ok {
		charged = &l.byExpression
		remaining, ok = charged.take(now)
	}
	header.Set("X-Rate-Limit-Limit", strconv.Itoa(charged.perSecond))
	header.Set("X-Rate-Limit-Remaining", strconv.Itoa(remaining))
	header.Set("X-Rate-Limit-Config", fmt.Sprintf("%d per second", charged.perSecond))
	if !ok {
		return &statusError{status: http.StatusTooManyRequests, message: "Too Many Requests"}
	}
	return nil
}

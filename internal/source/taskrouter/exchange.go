package taskrouter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/retry"
)

// purpose is what an HTTP request is made for.
type purpose struct {
	route   string // beginning of the reason of a refusal: see statusFailure
	reason  string // of failures that say nothing better
	largest int64  // bound of an answer, in bytes
}

var (
	snapshotRead = purpose{"post", "snapshot", largestSnapshot}
	listRead     = purpose{"rest", "list", largestPage}
)

// exchange sends req once and returns its answer, which is JSON and has a status of success, or the failure; header is nil when there was no answer.
// what names the thing read, in metrics and errors.
func (s *Source) exchange(req *http.Request, what string, p purpose) (answer gjson.Result, header http.Header, f *failure) {
	began := time.Now()
	resp, err := s.client.Do(req)
	if err != nil {
		s.metrics.request(what, "none", time.Since(began))
		reason, ok := networkReason(err)
		if !ok {
			reason = p.reason
		}
		return answer, nil, fail(again, reason, fmt.Errorf("read %s: %w", what, err))
	}
	defer func() { _ = resp.Body.Close() }() // only read
	s.metrics.request(what, statusClass(resp.StatusCode), time.Since(began))
	body, err := io.ReadAll(io.LimitReader(resp.Body, p.largest+1))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		// The vendor's error number says more than the status; its message is left out, as it repeats what was sent (section 7.3).
		f = statusFailure(p.route, resp, fmt.Errorf("read %s: HTTP status %d, code %d", what, resp.StatusCode, gjson.GetBytes(body, "code").Int()))
	case err != nil:
		f = fail(again, p.reason, fmt.Errorf("read %s: %w", what, err))
	case int64(len(body)) > p.largest:
		f = fail(permanent, p.reason, fmt.Errorf("read %s: the answer is larger than %d bytes", what, p.largest))
	case !json.Valid(body): // bounds the nesting too
		f = fail(again, p.reason, fmt.Errorf("read %s: the answer is not JSON", what))
	default:
		answer = gjson.ParseBytes(body)
	}
	return answer, resp.Header, f
}

// persist calls try until it succeeds, is refused, or the time that ctx leaves is too short for another attempt. ctx has a deadline. An attempt that
// our own limits have cut says nothing of the vendor: the one before it counts.
func persist(ctx context.Context, p purpose, try func() *failure) *failure {
	backoff := retry.Backoff{Base: 500 * time.Millisecond, Cap: 5 * time.Second, Healthy: time.Hour}
	var last *failure
	for {
		f := try()
		if f == nil || f.class == refused || f.class == permanent {
			return f
		}
		cut := ctx.Err() != nil || errors.Is(f.err, errBudget)
		if !cut || last == nil {
			last = f
		}
		wait := f.after + backoff.Next(0, retry.Jitter)
		if f.class == later && f.after == 0 {
			wait += leastPoliteness
		}
		end, _ := ctx.Deadline()
		switch {
		case cut:
		case f.after > 0 && time.Now().Add(wait).After(end):
			return f // the server named a time, which the next attempt should keep
		case time.Now().Add(wait).Before(end) && pause(ctx, wait):
			continue
		}
		return fail(last.class, p.reason, fmt.Errorf("no %s in time: %w", p.reason, last.err))
	}
}

// pause waits and reports whether ctx has let it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

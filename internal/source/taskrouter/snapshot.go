package taskrouter

import (
	"bytes"
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

// largestSnapshot bounds the answers to one session's start-up reads together, in bytes: a thousand reservations with full attributes.
const largestSnapshot = 16 << 20

// mostPages bounds one list: pages of 1000 that end after the first for any worker there is.
const mostPages = 100

// command is the body of every request to the event bridge (protocol, section 7.1).
type command struct {
	URL    string         `json:"url"`
	Method string         `json:"method"`
	Params map[string]any `json:"params"`
	Token  string         `json:"token"`

	route, version string // label of the metric; value of the apiVersion header
}

// snapshot reads the worker and what she has open, as the vendor's SDK does at its start (protocol, section 5), and joins the raw answers:
// {"worker":{…},"reservations":[…],"channels":[…]}, the last only when configured. asked is when the first answered request was sent.
func (s *session) snapshot(ctx context.Context) (body []byte, asked time.Time, f *failure) {
	path := "Workspaces/" + s.src.cfg.Workspace + "/Workers/" + s.agent.ID
	worker, asked, f := s.ask(ctx, command{URL: path, Params: map[string]any{}, route: "worker", version: "v1"})
	if f != nil {
		return nil, asked, f
	}
	if got := worker.Get("sid").Str; got != s.agent.ID {
		return nil, asked, fail(permanent, "wrong_worker", fmt.Errorf("asked for worker %s, the answer is about %.34q", s.agent.ID, got))
	}
	body = append(append(body, `{"worker":`...), worker.Raw...)
	body = append(body, `,"reservations":[`...)
	body, f = s.appendList(ctx, body, command{
		URL: path + "/Reservations", Params: map[string]any{"Active": "true", "PageSize": 1000}, route: "reservations", version: "v2",
	})
	if f != nil {
		return nil, asked, f
	}
	if s.src.cfg.SnapshotChannels {
		body = append(body, `],"channels":[`...)
		body, f = s.appendList(ctx, body, command{
			URL: path + "/WorkerChannels", Params: map[string]any{"PageSize": 1000}, route: "channels", version: "v1",
		})
		if f != nil {
			return nil, asked, f
		}
	}
	return append(body, "]}"...), asked, nil
}

// appendList appends the items of all pages, separated by commas (protocol, section 7.2).
func (s *session) appendList(ctx context.Context, body []byte, c command) ([]byte, *failure) {
	first := true
	for range mostPages {
		page, _, f := s.ask(ctx, c)
		if f != nil {
			return nil, f
		}
		key := page.Get("meta.list_key").Str
		if key == "" {
			key = "contents"
		}
		items := page.Get(gjson.Escape(key))
		if !items.IsArray() {
			return nil, fail(again, "snapshot", fmt.Errorf("list of %s: no list in the answer", c.route))
		}
		for _, item := range items.Array() {
			if !first {
				body = append(body, ',')
			}
			body, first = append(body, item.Raw...), false
		}
		next := page.Get("after_sid").Str
		switch {
		case next == "":
			return body, nil
		case next == c.Params["AfterSid"]:
			return nil, fail(again, "snapshot", fmt.Errorf("list of %s: the same page twice", c.route))
		case len(body) > largestSnapshot:
			return nil, fail(again, "snapshot", fmt.Errorf("list of %s: more than %d bytes", c.route, largestSnapshot))
		}
		c.Params["AfterSid"] = next
	}
	return nil, fail(again, "snapshot", fmt.Errorf("list of %s: more than %d pages", c.route, mostPages))
}

// ask sends c until it is answered, refused, or the time that ctx leaves is too short for another attempt. sent is when the answered
// request was sent.
func (s *session) ask(ctx context.Context, c command) (payload gjson.Result, sent time.Time, f *failure) {
	c.Method, c.Token = http.MethodGet, s.token.text
	backoff := retry.Backoff{Base: 500 * time.Millisecond, Cap: 5 * time.Second, Healthy: time.Hour}
	for {
		sent = time.Now()
		payload, f = s.post(ctx, c)
		if f == nil || f.class == refused || f.class == permanent {
			return payload, sent, f
		}
		wait := f.after + backoff.Next(0, retry.Jitter)
		end, _ := ctx.Deadline()
		if time.Now().Add(wait).After(end) {
			if f.after > 0 {
				return payload, sent, f // the server named a time, which the next session should keep
			}
			return payload, sent, fail(f.class, "snapshot", fmt.Errorf("no snapshot within %v: %w", s.src.cfg.SnapshotTimeout, f.err))
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return payload, sent, fail(again, "snapshot", ctx.Err())
		}
	}
}

// post sends c once and returns the answer's payload.
func (s *session) post(ctx context.Context, c command) (gjson.Result, *failure) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.src.cfg.RequestTimeout))
	defer cancel()
	text, err := json.Marshal(c)
	if err != nil {
		return gjson.Result{}, fail(permanent, "snapshot", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.src.base.String(), bytes.NewReader(text))
	if err != nil {
		return gjson.Result{}, fail(permanent, "snapshot", err)
	}
	req.Header = http.Header{
		"apiVersion":    {c.version},
		"clientVersion": {s.src.cfg.ClientVersion},
		"Content-Type":  {"application/x-www-form-urlencoded"}, // not true, but what the SDK of our client version sends
		"Accept":        {"application/json, text/plain, */*"},
	}
	resp, err := s.src.client.Do(req)
	if err != nil {
		s.src.metrics.request(c.route, "none")
		reason, ok := networkReason(err)
		if !ok {
			reason = "snapshot"
		}
		return gjson.Result{}, fail(again, reason, fmt.Errorf("read %s: %w", c.route, err))
	}
	defer func() { _ = resp.Body.Close() }() // only read
	s.src.metrics.request(c.route, statusClass(resp.StatusCode))
	answer, err := io.ReadAll(io.LimitReader(resp.Body, largestSnapshot+1))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		// The vendor's error number says more than the status; its message is left out, as it repeats what was sent (section 7.3).
		return gjson.Result{}, statusFailure("post", resp,
			fmt.Errorf("read %s: HTTP status %d, code %d", c.route, resp.StatusCode, gjson.GetBytes(answer, "code").Int()))
	}
	if err != nil {
		return gjson.Result{}, fail(again, "snapshot", fmt.Errorf("read %s: %w", c.route, err))
	}
	if len(answer) > largestSnapshot {
		return gjson.Result{}, fail(permanent, "snapshot", fmt.Errorf("read %s: the answer is larger than %d bytes", c.route, largestSnapshot))
	}
	if !json.Valid(answer) { // bounds the nesting too
		return gjson.Result{}, fail(again, "snapshot", errors.New("read "+c.route+": the answer is not JSON"))
	}
	payload := gjson.GetBytes(answer, "payload")
	if !payload.IsObject() {
		return gjson.Result{}, fail(again, "snapshot", errors.New("read "+c.route+": no payload in the answer"))
	}
	return payload, nil
}

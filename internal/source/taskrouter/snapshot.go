package taskrouter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tidwall/gjson"
)

// largestSnapshot bounds the answers to one session's start-up reads together, in bytes: a thousand reservations with full attributes.
const largestSnapshot = 16 << 20

// mostPages bounds one list: pages of 1000 that end after the first for any worker there is, and after 15 for a workspace (section 13).
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
	f = persist(ctx, snapshotRead, func() *failure {
		var f *failure
		sent = time.Now()
		payload, f = s.post(ctx, c)
		return f
	})
	return payload, sent, f
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
	answer, _, f := s.src.exchange(req, c.route, snapshotRead)
	if f != nil {
		return gjson.Result{}, f
	}
	payload := answer.Get("payload")
	if !payload.IsObject() {
		return gjson.Result{}, fail(again, "snapshot", errors.New("read "+c.route+": no payload in the answer"))
	}
	return payload, nil
}

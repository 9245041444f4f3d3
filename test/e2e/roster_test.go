package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

// listings are faults that strike the listing of the workspace's workers, which takes three pages.
var listings = map[string]struct {
	fault  fault
	reason string // of a failure that is not tried again for minutes
	short  bool
}{
	"first page, 500": {fault: fault{Kind: "fail", Route: "REST GET Workers", Code: 500}},
	"later page, 503": {fault: fault{Kind: "fail", Route: "REST GET Workers?PageToken", Code: 503}},
	"later page, 404": {fault: fault{Kind: "fail", Route: "REST GET Workers?PageToken", Code: 404}, reason: "rest_404", short: true},
	"key refused":     {fault: fault{Kind: "fail", Route: "REST *", Code: 401}, reason: "rest_401"},
	"rate limit":      {fault: fault{Kind: "fail", Route: "REST *", Code: 429}},
	"slow later page": {fault: fault{Kind: "slow", Route: "REST GET Workers?PageToken", DelayMS: 2500}},
}

// TestRoster: while the listing fails, or only half of it can be read, no session is touched; who has come meanwhile is met once it can be read.
func TestRoster(t *testing.T) {
	t.Parallel()
	for name, l := range listings {
		t.Run(name, func(t *testing.T) {
			if !l.short {
				long(t)
			}
			t.Parallel()
			r := newRig(t, setup{flags: []string{"--page-size", "2"}, source: func(v simulator.Ready) string {
				return fmt.Sprintf(`event_bridge_url: "%s", taskrouter_url: "%s", agents: {all: true, refresh: 1s}, rest_rate: 50, request_timeout: 2s`,
					v.EventBridgeURL, v.RESTURL)
			}})
			r.grow(t, 150)
			before := r.state(t)
			r.control(t, "/fault", l.fault)
			asked := answers(before, l.fault)
			if l.reason != "" {
				r.bridge.stderr.line(t, `"msg":"the roster cannot be read: the last one stays","reason":"`+l.reason+`"`, &struct{}{})
			} else {
				until(t, "the listing has failed three times", func() bool { return answers(r.state(t), l.fault) >= asked+3 })
			}
			r.control(t, "/do", simulator.Action{Do: "worker.add"})
			r.grow(t, 150)
			now := r.state(t)
			if err := untouched(before, now); err != nil {
				t.Error(err)
			}
			newcomer := func(s simulator.State) simulator.WorkerState { return s.Workers[agents] }
			if newcomer(now).Opened > 0 {
				t.Error("the newcomer has a session: the listing did not fail")
			}
			r.control(t, "/fault", fault{Kind: "clear"})
			if l.reason == "" {
				until(t, "the newcomer has a session", func() bool { return newcomer(r.state(t)).Now == 1 })
			}
			r.grow(t, 100)
			if err := untouched(before, r.state(t)); err != nil {
				t.Error(err)
			}
			r.settle(t, scenario{faults: []fault{l.fault}})
		})
	}
}

// TestRosterControl: it would be seen if a roster shrank. This one does, by the operator's will.
func TestRosterControl(t *testing.T) {
	t.Parallel()
	dir, path := t.TempDir(), ""
	r := newRig(t, setup{source: func(v simulator.Ready) string {
		path = write(t, dir, "agents", strings.Join(v.Workers, "\n"))
		return fmt.Sprintf(`event_bridge_url: "%s", agents: {file: "%s", refresh: 1s}`, v.EventBridgeURL, path)
	}})
	before := r.state(t)
	if err := untouched(before, before); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "agents", strings.Join(r.vendor.Workers[:2], "\n"))
	until(t, "it is seen that sessions have ended", func() bool { return untouched(before, r.state(t)) != nil })
}

// answers are those that the fault has spoilt.
func answers(s simulator.State, f fault) (n int) {
	route, _ := strings.CutPrefix(f.Route, "REST ")
	for _, a := range s.Requests {
		if (route == "*" || a.Route == route) && (f.Code == 0 || a.Status == f.Code) {
			n += a.Count
		}
	}
	return n
}

// untouched says whose session is no longer the one that it was.
func untouched(before, now simulator.State) error {
	for _, w := range before.Workers {
		i := slices.IndexFunc(now.Workers, func(n simulator.WorkerState) bool { return n.Worker == w.Worker })
		if i < 0 || now.Workers[i].Now != 1 || now.Workers[i].Opened != w.Opened {
			return fmt.Errorf("the session of %s is not the one that it was: %+v", w.Worker, now.Workers)
		}
	}
	return nil
}

package taskrouter

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

func inject(t *testing.T, s *Simulator, f Fault) {
	t.Helper()
	if status, answer := submit(t, s.Ready().ControlURL+"/fault", "", text(f)); status != http.StatusNoContent {
		t.Fatalf("fault %s: got %d %v, want 204", f.Kind, status, answer)
	}
}

// clearFaults ends what goes on and checks that it did.
func clearFaults(t *testing.T, s *Simulator) {
	t.Helper()
	inject(t, s, Fault{Kind: "clear"})
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for kind := range kinds {
		if s.lasting(kind, s.world.workers[0], now) != nil {
			t.Errorf("%s goes on after clear", kind)
		}
	}
}

func TestEndsOfSockets(t *testing.T) {
	s := start(t, Options{Workers: 2})
	for kind, code := range map[string]int{"evict": websocket.CloseNormalClosure, "expire": websocket.ClosePolicyViolation} {
		c := dial(t, s, 0, observer)
		inject(t, s, Fault{Kind: kind})
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, code) {
			t.Errorf("%s: got %v, want close code %d", kind, err, code)
		}
	}
	if st := s.State(); st.Evictions != 0 || st.PresenceChanges != 0 {
		t.Errorf("got %d evictions and %d presence changes blamed on clients, want none", st.Evictions, st.PresenceChanges)
	}
	c := dial(t, s, 1, observer)
	tok := token(t, s, 1, nil)
	do(t, s, Action{Do: "worker.remove", Worker: s.Ready().Workers[1]})
	if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
		t.Errorf("worker removed: got %v, want close code 1008", err)
	}
	if _, resp, err := websocket.DefaultDialer.Dial(socketURL(s, tok, observer), nil); err == nil || resp.StatusCode != 403 {
		t.Errorf("dial for a removed worker: got %v, want 403", resp)
	}
}

func TestBeginningsOfSockets(t *testing.T) {
	s := start(t, Options{Workers: 1, TokenLifetime: time.Minute})
	connect := func() *websocket.Conn {
		t.Helper()
		c, _, err := websocket.DefaultDialer.Dial(socketURL(s, token(t, s, 0, nil), observer), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	lifetime := func(c *websocket.Conn) float64 {
		t.Helper()
		m := read(t, c)
		if m.EventType != "init" {
			t.Fatalf("got %s, want init", m.EventType)
		}
		return m.Payload["token_lifetime"].(float64)
	}
	if got := lifetime(connect()); got <= 0 || got > 60_000 {
		t.Errorf("got a lifetime of %v ms, want the option's minute rather than the token's hour", got)
	}

	inject(t, s, Fault{Kind: "turn-away", Code: 4003, Reason: "no"})
	if _, _, err := connect().ReadMessage(); !websocket.IsCloseError(err, 4003) {
		t.Errorf("turn-away: got %v, want close code 4003 and no init", err)
	}
	clearFaults(t, s)

	inject(t, s, Fault{Kind: "slow-init", DelayMS: 200})
	began := time.Now()
	lifetime(connect())
	if waited := time.Since(began); waited < 200*time.Millisecond {
		t.Errorf("slow-init: init came after %v, want 200ms", waited)
	}
	clearFaults(t, s)

	inject(t, s, Fault{Kind: "early-event"})
	c := connect()
	lifetime(c)
	wantEvents(t, c, "worker.attributes.update")
	clearFaults(t, s)

	inject(t, s, Fault{Kind: "lifetime", LifetimeMS: 100})
	c = connect()
	if got := lifetime(c); got > 100 {
		t.Errorf("lifetime: got %v ms, want 100", got)
	}
	for err := error(nil); err == nil; {
		if _, _, err = c.ReadMessage(); err != nil && !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Errorf("lifetime: got %v, want close code 1008", err)
		}
	}
	inject(t, s, Fault{Kind: "keep-expired"})
	c = connect()
	lifetime(c)
	s.mu.Lock()
	k := s.world.workers[0].sockets[len(s.world.workers[0].sockets)-1]
	if !k.expires.IsZero() {
		t.Errorf("keep-expired: got a session that ends at %v, want one that does not", k.expires)
	}
	s.mu.Unlock()
}

func TestAlteredEvents(t *testing.T) {
	s := start(t, Options{Workers: 1})
	me := s.Ready().Workers[0]
	c := dial(t, s, 0, observer)
	failOutbound := func() { t.Helper(); do(t, s, Action{Do: "worker.outbound-failed", Worker: me}) }

	inject(t, s, Fault{Kind: "duplicate"})
	failOutbound()
	if a, b := read(t, c), read(t, c); !cmp.Equal(a, b) {
		t.Errorf("duplicate: got two events that differ: %v", cmp.Diff(a, b))
	}
	clearFaults(t, s)
	if e := s.Ledger(); e[len(e)-1].Delivered != 1 {
		t.Errorf("duplicate: delivered to %d sockets, want 1", e[len(e)-1].Delivered)
	}

	inject(t, s, Fault{Kind: "delay", DelayMS: 200})
	began := time.Now()
	failOutbound()
	wantEvents(t, c, "reservation.failed")
	if waited := time.Since(began); waited < 200*time.Millisecond {
		t.Errorf("delay: got the event after %v, want 200ms", waited)
	}
	clearFaults(t, s)

	inject(t, s, Fault{Kind: "lose"})
	failOutbound()
	clearFaults(t, s)
	lost := s.Ledger()[len(s.Ledger())-1]
	inject(t, s, Fault{Kind: "omit", Field: "assignment_status"})
	failOutbound()
	m := read(t, c)
	if _, ok := m.Payload["assignment_status"]; m.EventType != "reservation.failed" || m.Payload["sid"] == lost.Resource || ok {
		t.Errorf("lose, then omit: got %v, want the second event without assignment_status", m)
	}
	if len(m.Payload) < 20 {
		t.Errorf("omit: got only %d members", len(m.Payload))
	}
	clearFaults(t, s)
}

func TestOddFrames(t *testing.T) {
	s := start(t, Options{Workers: 1})
	for kind, want := range map[string]frame{
		"not-json": notJSON, "truncated": truncated, "unknown-type": unknownType, "null-payload": nullPayload, "binary": binary, "invalid-utf8": invalidUTF8,
	} {
		c := dial(t, s, 0, observer)
		inject(t, s, Fault{Kind: kind})
		if got, b, err := c.ReadMessage(); err != nil || got != want.kind || string(b) != string(want.data) {
			t.Errorf("%s: got %d %q %v", kind, got, b, err)
		}
		_ = c.Close()
	}
	c := dial(t, s, 0, observer)
	pings := 0
	c.SetPingHandler(func(string) error { pings++; return nil })
	inject(t, s, Fault{Kind: "ping"})
	do(t, s, Action{Do: "worker.send", Worker: s.Ready().Workers[0], Text: `{"event_type":"after"}`})
	wantEvents(t, c, "after")
	if pings != 1 {
		t.Errorf("got %d pings, want 1", pings)
	}
}

func TestHeartbeatsAloneCanBeMuted(t *testing.T) {
	s := start(t, Options{Workers: 1, Heartbeat: time.Millisecond})
	c := dial(t, s, 0, observer)
	inject(t, s, Fault{Kind: "mute-heartbeats"})
	mark := func(name string) {
		t.Helper()
		do(t, s, Action{Do: "worker.send", Worker: s.Ready().Workers[0], Text: `{"event_type":"` + name + `"}`})
	}
	mark("first")
	wantEvents(t, c, "first") // with heartbeats from before
	time.AfterFunc(50*time.Millisecond, func() { _, _ = s.Do(Action{Do: "worker.send", Worker: s.Ready().Workers[0], Text: "last"}) })
	if _, b, err := c.ReadMessage(); err != nil || string(b) != "last" {
		t.Errorf("got %q, %v after 50 heartbeats' time, want the event alone", b, err)
	}
	clearFaults(t, s)
	if _, b, err := c.ReadMessage(); err != nil || string(b) != "\n" {
		t.Errorf("got %q, %v after clear, want a heartbeat", b, err)
	}
}

func TestRequestsCanFailAndBeSlow(t *testing.T) {
	s := start(t, Options{Workers: 2})
	own := "Workspaces/" + s.o.Workspace + "/Workers/" + s.Ready().Workers[0]
	get := func(path string) (int, object) {
		t.Helper()
		return post(t, s, "v2", token(t, s, 0, nil), path, object{"Active": "true"})
	}
	inject(t, s, Fault{Kind: "fail", Route: "GET Workers/{WK}/*", Workers: s.Ready().Workers[:1], Code: 500, Reason: "out of order"})
	if status, answer := get(own + "/Reservations"); status != 500 || answer["message"] != "out of order" {
		t.Errorf("got %d %v, want 500 out of order", status, answer)
	}
	if status, _ := get(own); status != 200 {
		t.Errorf("another route: got %d, want 200", status)
	}
	clearFaults(t, s)
	if status, _ := get(own + "/Reservations"); status != 200 {
		t.Errorf("after clear: got %d, want 200", status)
	}

	// The state is read at once and the answer kept back: events that it does not have can arrive before it.
	c := dial(t, s, 0, observer)
	inject(t, s, Fault{Kind: "slow", Route: "GET Workers/{WK}", DelayMS: 300, Count: 1})
	executed := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.lasting("slow", s.world.workers[0], time.Now()) == nil
	}
	changed := make(chan error, 1)
	go func() {
		for deadline := time.Now().Add(patience); !executed() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		_, err := s.Do(Action{Do: "worker.attributes", Worker: s.Ready().Workers[0], Attributes: `{"new":true}`})
		changed <- err
	}()
	began := time.Now()
	_, answer := get(own)
	if waited := time.Since(began); waited < 300*time.Millisecond || strings.Contains(text(answer), "new") {
		t.Errorf("got %v after %v, want the old attributes after 300ms", answer, waited)
	}
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	wantEvents(t, c, "worker.attributes.update")
	if e := s.Ledger(); e[len(e)-1].At.Sub(began) > 250*time.Millisecond {
		t.Errorf("the event came %v after the command, want it before the answer", e[len(e)-1].At.Sub(began))
	}
}

func TestActionsThatCannotBe(t *testing.T) {
	s := start(t, Options{Workers: 1})
	me := s.Ready().Workers[0]
	o := do(t, s, Action{Do: "task.create", Workers: []string{me}})
	for body, want := range map[string]int{
		`{"do":"dance"}`: 400, `{"do":"step","times":3}`: 400, `{"do":"step","count":-1}`: 400, `{"do":"step","count":10001}`: 400, `{`: 400,
		`{"do":"worker.remove","worker":"` + me + `"}`:                          409,
		`{"do":"worker.remove","worker":"WK9"}`:                                 404,
		`{"do":"worker.activity","worker":"` + me + `","activity":"Asleep"}`:    400,
		`{"do":"worker.channel","worker":"` + me + `","channel":"voice"}`:       400,
		`{"do":"worker.attributes","worker":"` + me + `","attributes":"none"}`:  400,
		`{"do":"task.create","workers":["WK9"]}`:                                404,
		`{"do":"task.create","channel":"fax"}`:                                  400,
		`{"do":"task.offer","task":"` + o.Task + `","workers":["` + me + `"]}`:  409,
		`{"do":"task.complete","task":"` + o.Task + `"}`:                        409,
		`{"do":"task.complete","task":"WT9"}`:                                   404,
		`{"do":"reservation.wrapup","reservation":"` + o.Reservations[0] + `"}`: 409,
		`{"do":"reservation.accept","reservation":"WR9"}`:                       404,
		`{"do":"transfer.start","reservation":"` + o.Reservations[0] + `"}`:     400,
		`{"do":"transfer.cancel","transfer":"TT9"}`:                             404,
	} {
		if status, answer := submit(t, s.Ready().ControlURL+"/do", "", body); status != want || answer["message"] == nil {
			t.Errorf("%s: got %d %v, want %d", body, status, answer, want)
		}
	}
}

// The guide's tables and this package's have the same names.
func TestGuideIsComplete(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n### Actions\n")
	doing, section, _ := strings.Cut(section, "\n### Faults\n")
	faulty, _, _ := strings.Cut(section, "\n## ")
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"actions": {doing, slices.Sorted(maps.Keys(actions))},
		"faults":  {faulty, slices.Sorted(maps.Keys(kinds))},
	} {
		var got []string
		for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(c.text, -1) {
			for _, cell := range strings.Split(row[1], ", ") {
				got = append(got, strings.Trim(cell, "`"))
			}
		}
		got = slices.DeleteFunc(got, func(s string) bool { return s == "do" || s == "kind" })
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

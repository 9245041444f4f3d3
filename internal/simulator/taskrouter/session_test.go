package taskrouter

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func activityOf(s *Simulator, n int) string { return s.State().Workers[n].Activity }

// wake gives the worker an activity other than Offline.
func wake(t *testing.T, s *Simulator, n int) {
	t.Helper()
	do(t, s, Action{Do: "worker.activity", Worker: s.Ready().Workers[n], Activity: "Available"})
}

// goodbye closes as the vendor's SDK does.
func goodbye(t *testing.T, c *websocket.Conn) {
	t.Helper()
	if err := c.WriteControl(websocket.CloseMessage, nil, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

// In a Flex workspace a worker goes offline for want of a socket (section 11): soon after a clean close, after the threshold else.
func TestFlexWorkersGoOffline(t *testing.T) {
	t.Parallel()
	const rude = "&closeExistingSessions=false&clientVersion=2.1.1"
	lost := func(t *testing.T, c *websocket.Conn) { t.Helper(); _ = c.NetConn().Close() }
	for name, test := range map[string]struct {
		o       Options
		query   string
		end     func(*testing.T, *websocket.Conn)
		offline bool
	}{
		"clean close":            {Options{Flex: true, OfflineAfter: time.Hour}, rude, goodbye, true},
		"lost connection":        {Options{Flex: true, OfflineAfter: 10 * time.Millisecond}, rude, lost, true},
		"lost, threshold not up": {Options{Flex: true, OfflineAfter: time.Hour}, rude, lost, false},
		"an observer":            {Options{Flex: true, OfflineAfter: 10 * time.Millisecond}, observer, goodbye, false},
		"not a Flex workspace":   {Options{OfflineAfter: 10 * time.Millisecond}, rude, goodbye, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.o.Workers = 1
			s := start(t, test.o)
			wake(t, s, 0)
			test.end(t, dial(t, s, 0, test.query))
			waitFor(t, "the socket to go", func() bool { return s.State().Workers[0].Now == 0 })
			s.mu.Lock()
			goes := s.world.workers[0].goes != nil
			s.mu.Unlock()
			switch {
			case test.offline:
				waitFor(t, "the worker to go offline", func() bool { return activityOf(s, 0) == "Offline" })
				if e := entriesOf(s, s.Ready().Workers[0]); e[len(e)-1].EventType != "worker.activity.update" {
					t.Errorf("got %v last in the ledger, want the change", e[len(e)-1])
				}
			case goes != (test.o.Flex && test.query == rude):
				t.Errorf("the worker is about to go offline: %v", goes)
			case activityOf(s, 0) != "Available":
				t.Errorf("got activity %s, want Available", activityOf(s, 0))
			}
		})
	}
}

func TestFlexWorkerStaysWithAnotherSocket(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Workers: 1, Flex: true, OfflineAfter: 100 * time.Millisecond})
	wake(t, s, 0)
	first, second := dial(t, s, 0, ""), dial(t, s, 0, "")
	goodbye(t, first)
	waitFor(t, "one socket to go", func() bool { return s.State().Workers[0].Now == 1 })
	goes := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.world.workers[0].goes != nil
	}
	if goes() {
		t.Error("the worker goes offline with a socket left")
	}
	s.mu.Lock()
	s.o.OfflineAfter = time.Hour
	s.mu.Unlock()
	_ = second.NetConn().Close()
	waitFor(t, "the other to go", goes)
	dial(t, s, 0, observer)
	if goes() || activityOf(s, 0) != "Available" {
		t.Errorf("the worker goes offline although a socket has come back: %s", activityOf(s, 0))
	}
}

func TestSocketsOfOneWorkerAreLimited(t *testing.T) {
	s := start(t, Options{Workers: 2, Sockets: 2})
	status := func(query string) int {
		t.Helper()
		c, resp, err := websocket.DefaultDialer.Dial(socketURL(s, token(t, s, 0, nil), query), nil)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
		return resp.StatusCode
	}
	first := dial(t, s, 0, observer)
	dial(t, s, 0, observer)
	if got := status(observer); got != http.StatusTooManyRequests {
		t.Errorf("third socket: got status %d, want 429", got)
	}
	dial(t, s, 1, observer) // the limit is each worker's own
	goodbye(t, first)
	waitFor(t, "room", func() bool { return s.State().Workers[0].Now == 1 })
	if got := status(observer); got != http.StatusSwitchingProtocols {
		t.Errorf("after one has gone: got status %d, want 101", got)
	}
	if got := status("&closeExistingSessions=true"); got != http.StatusSwitchingProtocols {
		t.Errorf("one that closes the others: got status %d, want 101", got)
	}
	if most := s.State().Workers[0].Max; most != 2 {
		t.Errorf("got %d sockets at the same time, want 2", most)
	}
}

func TestFirstAnswersOfASession(t *testing.T) {
	s := start(t, Options{Workers: 1})
	tok, worker := token(t, s, 0, nil), "Workspaces/"+s.Ready().Workspace+"/Workers/"+s.Ready().Workers[0]
	post(t, s, "v1", tok, worker, nil)
	dial(t, s, 0, observer)
	post(t, s, "v2", tok, worker+"/Reservations", map[string]any{"Active": "true"})
	for range 5 {
		post(t, s, "v1", tok, worker, nil)
	}
	got := s.State().Workers[0].Answered
	want := []string{"GET Workers/{WK}/Reservations v2", "GET Workers/{WK} v1", "GET Workers/{WK} v1", "GET Workers/{WK} v1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

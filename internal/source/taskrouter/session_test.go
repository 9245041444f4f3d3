package taskrouter

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/websocket"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

// brief shows calls as "verb feed body", to compare their order.
func brief(calls []sourcetest.Call) []string {
	var lines []string
	for _, c := range calls {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %v %s", c.Verb, c.Feed, c.Body)))
	}
	return lines
}

func TestSessionStart(t *testing.T) {
	v := newVendor(t)
	var opened, answered time.Time
	v.onOpen = func(p *peer) { p.send("\n", initFrame, "\n", event(1)) }
	v.onPost = func(_ http.ResponseWriter, c posted) bool {
		p := v.all()[0]
		switch {
		case len(v.allPosts()) == 1:
			opened = time.Now()
			p.send(event(2), "\n")
			p.sync() // the client has read, so it keeps them back
			if got := len(v.allPosts()); got != 1 {
				t.Errorf("got %d commands, want the first to be waited for", got)
			}
		case strings.HasSuffix(c.URL, "/Reservations"):
			p.send(event(3))
			p.sync()
			answered = time.Now()
		}
		return false
	}
	v.Start()
	x := v.start()
	x.WaitBody(event(3))
	v.all()[0].send(event(4), "\n")
	calls := x.Wait("the last heartbeat", func(calls []sourcetest.Call) bool { return len(calls) == 11 })

	want := []string{
		"up live",
		`frame state {"worker":` + workerBody + `,"reservations":[{"sid":"WR1"}]}`,
		"beat live", "frame live " + initFrame, "beat live", "frame live " + event(1),
		"frame live " + event(2), "beat live", "frame live " + event(3), "frame live " + event(4), "beat live",
	}
	if diff := cmp.Diff(want, brief(calls)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	up, state, initial, second, third := calls[0], calls[1], calls[3], calls[6], calls[8]
	if !up.At.Equal(initial.At) {
		t.Errorf("got since %v, want the receipt of init %v", up.At, initial.At)
	}
	if got, want := up.RenewBy.Sub(up.At), testLife*8/10; got.Round(time.Millisecond) != want.Round(time.Millisecond) {
		t.Errorf("got renewBy %v after init, want 80 %% of the token's life left, %v", got, want)
	}
	if state.At.Before(initial.At) || state.At.After(opened) {
		t.Errorf("got snapshot time %v, want when its first request was sent: between %v and %v", state.At, initial.At, opened)
	}
	if second.At.After(answered) || third.At.After(answered) || !second.At.After(opened) {
		t.Errorf("got receipt times %v and %v, want those of their reads, before %v", second.At, third.At, answered)
	}
}

func TestStartupReads(t *testing.T) {
	v := newVendor(t)
	v.onPost = func(w http.ResponseWriter, c posted) bool {
		switch {
		case strings.HasSuffix(c.URL, "/WorkerChannels"):
			answer(w, `{"channels":[{"sid":"WC1"}],"meta":{"list_key":"channels"}}`)
		case strings.HasSuffix(c.URL, "/Reservations") && c.Params["AfterSid"] == nil:
			answerList(w, "WR2", `{"sid":"WR1","task":{"attributes":"{\"a\":1}"}}`, `{"sid":"WR2"}`)
		case strings.HasSuffix(c.URL, "/Reservations") && c.Params["AfterSid"] == "WR2":
			answerList(w, "WR3", `{"sid":"WR3", "version" : 12345678901234567890}`)
		case strings.HasSuffix(c.URL, "/Reservations"):
			answerList(w, "")
		default:
			return false
		}
		return true
	}
	v.Start()
	x, _ := v.live(func(c *Config) { c.SnapshotChannels = true })

	want := `{"worker":` + workerBody + `,"reservations":[{"sid":"WR1","task":{"attributes":"{\"a\":1}"}},{"sid":"WR2"},` +
		`{"sid":"WR3", "version" : 12345678901234567890}],"channels":[{"sid":"WC1"}]}`
	if got := x.Calls()[1].Body; got != want {
		t.Errorf("got snapshot %s, want %s", got, want)
	}
	path := "Workspaces/" + testWorkspace + "/Workers/" + testWorker
	wantPosts := []posted{
		{URL: path, Method: "GET", Params: map[string]any{}},
		{URL: path + "/Reservations", Method: "GET", Params: map[string]any{"Active": "true", "PageSize": 1000.0}},
		{URL: path + "/Reservations", Method: "GET", Params: map[string]any{"Active": "true", "PageSize": 1000.0, "AfterSid": "WR2"}},
		{URL: path + "/Reservations", Method: "GET", Params: map[string]any{"Active": "true", "PageSize": 1000.0, "AfterSid": "WR3"}},
		{URL: path + "/WorkerChannels", Method: "GET", Params: map[string]any{"PageSize": 1000.0}},
	}
	got := v.allPosts()
	if diff := cmp.Diff(wantPosts, got, cmpopts.IgnoreFields(posted{}, "Token"), cmpopts.IgnoreUnexported(posted{})); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	for i, version := range []string{"v1", "v2", "v2", "v2", "v1"} {
		h := got[i].header
		if h.Get("apiVersion") != version || h.Get("clientVersion") != "2.1.1" || h.Get("Authorization") != "" {
			t.Errorf("command %d: got headers %v, want apiVersion %s, clientVersion 2.1.1, no Authorization", i, h, version)
		}
		if "token="+got[i].Token+"&closeExistingSessions=false&clientVersion=2.1.1&setWorkerOfflineIfDisconnected=false" != v.allQueries()[0] {
			t.Errorf("got the socket's query %q, want that of protocol section 4.1 with the commands' token", v.allQueries()[0])
		}
	}
}

func TestFramesOfAnyKindReachTheIntake(t *testing.T) {
	v := startVendor(t)
	x, p := v.live()
	before := len(x.Wait("the first heartbeat", func(calls []sourcetest.Call) bool { return slices.Contains(brief(calls), "beat live") }))
	p.send("not JSON", `{"event_type":"never.heard"}`, `[]`, "\xff\xfe", "")
	p.write(websocket.BinaryMessage, "\x00\x01")
	p.write(websocket.BinaryMessage, " ")
	p.write(websocket.BinaryMessage, "")
	p.send(" \r\n\t", initFrame)
	large := `{"pad":"` + strings.Repeat("x", 200_000) + `"}`
	p.send(large, event(1))
	x.WaitBody(event(1))
	want := []string{
		"frame live not JSON", `frame live {"event_type":"never.heard"}`, "frame live []", "frame live \xff\xfe", "beat live",
		"frame live \x00\x01", "frame live", "frame live", "beat live", "frame live " + initFrame, "frame live " + large, "frame live " + event(1),
	}
	if diff := cmp.Diff(want, brief(x.Calls()[before:])); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestSilenceIsLeftToTheCaller(t *testing.T) {
	v := startVendor(t)
	short := config.Duration(50 * time.Millisecond)
	x, p := v.live(func(c *Config) {
		c.DialTimeout, c.InitTimeout, c.RequestTimeout = 20*short, short, 20*short
		c.SnapshotTimeout = 20 * short
	})
	time.Sleep(time.Duration(30 * short)) // for nothing to happen: longer than every limit of the start-up
	if x.Ended() {
		t.Fatalf("a silent session ended with %v, want it left to the caller", x.End())
	}
	p.send(event(1))
	x.WaitBody(event(1))
}

func TestSteadyStateIsOneGoroutine(t *testing.T) {
	const sessions = 20
	v := startVendor(t)
	s := newSource(t, v.URL)
	var live []*sourcetest.Session
	for range sessions {
		live = append(live, sourcetest.Start(t, s, *s.testAgent()))
	}
	for _, x := range live {
		x.WaitBody(initFrame)
	}
	// The goroutine that caught up is on its way out when its last call is seen.
	deadline := time.Now().Add(wantTimeout)
	for goroutinesIn("taskrouter.(*session)") != sessions {
		if time.Now().After(deadline) {
			t.Fatalf("got %d goroutines for %d sessions, want one each", goroutinesIn("taskrouter.(*session)"), sessions)
		}
		runtime.Gosched()
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCatchUpEndsBeforeServe(t *testing.T) {
	v := startVendor(t)
	s := newSource(t, v.URL)
	returned := make(chan struct{})
	s.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		v.all()[0].closeWith(1001, "")
		<-r.Context().Done()
		if err := r.Context().Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the request canceled when the socket ends", err)
		}
		select {
		case <-returned:
			t.Error("Serve returned while it was still catching up")
		case <-time.After(100 * time.Millisecond): // for Serve to return if it does not wait
		}
		return nil, r.Context().Err()
	})
	err := s.Serve(context.Background(), s.testAgent(), sourcetest.NewRecorder(t))
	close(returned)
	if retry.ReasonOf(err) != "close_1001" {
		t.Errorf("got %v, want close_1001", err)
	}
}

// goroutinesIn counts the goroutines with name in their stack.
func goroutinesIn(name string) int {
	text := make([]byte, 4<<20)
	text = text[:runtime.Stack(text, true)]
	n := 0
	for _, stack := range strings.Split(string(text), "\n\n") {
		stack, _, _ = strings.Cut(stack, "created by") // by the session, which is not in it
		if strings.Contains(stack, name) {
			n++
		}
	}
	return n
}

// TestSessionEnds runs sessions that end by themselves. What each status and close code leads to is tested in internal/bridge, with the fleet
// (reactions_test.go).
func TestSessionEnds(t *testing.T) {
	post := func(status int) func(*vendor) {
		return func(v *vendor) {
			v.onPost = func(w http.ResponseWriter, _ posted) bool {
				w.WriteHeader(status)
				return true
			}
		}
	}
	payload := func(text string) func(*vendor) {
		return func(v *vendor) {
			v.onPost = func(w http.ResponseWriter, c posted) bool {
				if strings.HasSuffix(c.URL, "/Reservations") != strings.Contains(text, "contents") {
					return false
				}
				answer(w, text)
				return true
			}
		}
	}
	none := func(*Config) {}
	ms := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Millisecond) }
	tests := []struct {
		name      string
		script    func(*vendor)
		change    func(*Config)
		reason    string
		permanent bool
		delay     time.Duration
	}{
		{name: "no init", script: func(v *vendor) {
			v.onOpen = func(p *peer) { p.send("\n", event(1)) }
		}, change: func(c *Config) { c.InitTimeout = ms(100) }, reason: "init_timeout"},
		{name: "only heartbeats, no init", script: func(v *vendor) {
			v.onOpen = func(p *peer) {
				for range 100 {
					p.send("\n")
				}
			}
		}, change: func(c *Config) { c.InitTimeout, c.Buffer = ms(5000), 1024 }, reason: "snapshot"},
		{name: "snapshot never answered", script: func(v *vendor) {
			v.onPost = func(http.ResponseWriter, posted) bool { <-v.closing; return true }
		}, change: func(c *Config) { c.SnapshotTimeout = ms(200) }, reason: "snapshot"},
		{name: "snapshot fails", script: post(503), change: func(c *Config) { c.SnapshotTimeout = ms(300) }, reason: "snapshot", delay: politeness},
		{name: "pages that lead in a circle", script: func(v *vendor) {
			turn := 0
			v.onPost = func(w http.ResponseWriter, c posted) bool {
				if !strings.HasSuffix(c.URL, "/Reservations") {
					return false
				}
				turn++
				if turn > mostPages {
					t.Errorf("page %d was asked for, want at most %d", turn, mostPages)
				}
				answerList(w, []string{"WRa", "WRb"}[turn%2])
				return true
			}
		}, change: none, reason: "snapshot"},
		{name: "an answer beyond all bounds", script: func(v *vendor) {
			v.onPost = func(w http.ResponseWriter, _ posted) bool {
				_, _ = w.Write(bytes.Repeat([]byte(" "), largestSnapshot+1))
				return true
			}
		}, change: none, reason: "snapshot", permanent: true},
		{name: "snapshot not JSON", script: payload(`{`), change: func(c *Config) { c.SnapshotTimeout = ms(300) }, reason: "snapshot"},
		{name: "snapshot null", script: payload(`null`), change: func(c *Config) { c.SnapshotTimeout = ms(300) }, reason: "snapshot"},
		{name: "list is no list", script: payload(`{"contents":{}}`), change: none, reason: "snapshot"},
		{name: "list page repeats", script: payload(`{"contents":[],"after_sid":"WR1"}`), change: none, reason: "snapshot"},
		{name: "too much before the snapshot", script: func(v *vendor) {
			v.onPost = func(http.ResponseWriter, posted) bool {
				for range 5 {
					v.all()[0].send(strings.Repeat("x", 1000))
				}
				<-v.closing
				return true
			}
		}, change: func(c *Config) { c.Buffer = 4096 }, reason: "snapshot"},

		{name: "upgrade never answered", script: func(v *vendor) {
			v.onDial = func(_ http.ResponseWriter, r *http.Request) bool { v.stall(r); return true }
		}, change: func(c *Config) { c.DialTimeout = ms(100) }, reason: "timeout"},
		{name: "extension not offered", script: func(v *vendor) {
			v.onDial = func(w http.ResponseWriter, r *http.Request) bool {
				accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 1.3
				h := w.Header()
				h.Set("Upgrade", "websocket")
				h.Set("Connection", "Upgrade")
				h.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(accept[:]))
				h.Set("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover; client_no_context_takeover")
				w.WriteHeader(http.StatusSwitchingProtocols)
				return true
			}
		}, change: none, reason: "bad_handshake"},

		{name: "close before init", script: func(v *vendor) { v.onOpen = func(p *peer) { p.closeWith(1012, "") } }, change: none, reason: "close_1012"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVendor(t)
			test.script(v)
			v.Start()
			err := v.start(test.change).End()
			if got := retry.ReasonOf(err); got != test.reason {
				t.Errorf("got reason %q (%v), want %q", got, err, test.reason)
			}
			if retry.IsPermanent(err) != test.permanent || retry.Delay(err) != test.delay {
				t.Errorf("got permanent %v, delay %v of %v; want %v, %v", retry.IsPermanent(err), retry.Delay(err), err, test.permanent, test.delay)
			}
			if got := len(v.allQueries()); got != 1 {
				t.Errorf("got %d dials, want 1", got)
			}
		})
	}
}

func TestNotConnected(t *testing.T) {
	tests := []struct{ name, base, reason string }{
		{"refused", "http://127.0.0.1:1", "connection_refused"},
		{"name", "http://" + strings.Repeat("x", 64) + ".invalid", "dns"}, // too long a label: refused without asking a server
	}
	for _, test := range tests {
		s := newSource(t, test.base)
		err := s.Serve(t.Context(), s.testAgent(), sourcetest.NewRecorder(t))
		if got := retry.ReasonOf(err); got != test.reason || retry.IsPermanent(err) {
			t.Errorf("%s: got reason %q (%v), want %q, not permanent", test.name, got, err, test.reason)
		}
	}
	s := newSource(t, "http://127.0.0.1:1")
	err := s.Serve(t.Context(), &source.Agent{ID: testWorker + "/../.."}, sourcetest.NewRecorder(t))
	if got := retry.ReasonOf(err); got != "agent_id" || !retry.IsPermanent(err) {
		t.Errorf("got reason %q (%v), want agent_id, permanent", got, err)
	}
}

func TestRefusedOnceIsTriedAgainWithANewToken(t *testing.T) {
	v := newVendor(t)
	v.onDial = func(w http.ResponseWriter, _ *http.Request) bool {
		if len(v.allQueries()) > 1 {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	v.Start()
	v.live()
	if got := len(v.allQueries()); got != 2 {
		t.Errorf("got %d dials, want 2", got)
	}
}

func TestSnapshotIsRetried(t *testing.T) {
	v := newVendor(t)
	var (
		mu   sync.Mutex
		sent []time.Time
	)
	v.onPost = func(w http.ResponseWriter, _ posted) bool {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, time.Now())
		switch len(sent) {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		case 3:
			panic(http.ErrAbortHandler) // the connection is cut
		default:
			return false
		}
		return true
	}
	v.Start()
	x, _ := v.live()
	if got := sent[1].Sub(sent[0]); got < time.Second {
		t.Errorf("got a repeat after %v, want not before Retry-After, 1s", got)
	}
	// What was told by another session until now must be in the snapshot, so the time is that of the request which was answered.
	if at := x.Calls()[1].At; at.Before(sent[2]) || at.After(sent[3]) {
		t.Errorf("got snapshot time %v, want that of the answered request: between %v and %v", at, sent[2], sent[3])
	}
}

func TestClosesPolitely(t *testing.T) {
	v := newVendor(t)
	code := make(chan int, 1)
	v.onOpen = func(p *peer) {
		p.SetCloseHandler(func(c int, _ string) error { code <- c; return nil })
		p.send(initFrame)
	}
	v.Start()
	x, _ := v.live()
	x.Cancel()
	_ = x.End()
	select {
	case got := <-code:
		if got != websocket.CloseNoStatusReceived {
			t.Errorf("got close code %d, want none (1005), as from the vendor's SDK", got)
		}
	case <-time.After(wantTimeout):
		t.Error("got no close frame")
	}
}

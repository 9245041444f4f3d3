package bridge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
)

// script is what a vendor does to a session; the zero value lets it live.
type script struct {
	upgrade, command int // HTTP status of a refusal
	number           int // the vendor's error number in it
	retryAfter       bool
	first            string                // frame in place of init
	worker           string                // answer in place of the worker
	lifetime         int                   // of the token, in ms, as init says
	end              func(*websocket.Conn) // once the session is live; nil: the vendor leaves it alone
	silent           bool                  // nothing comes any more, and the fleet's clock goes on
	change           func(*taskrouter.Config)
	agent            string
	listing          page // of a roster, instead of a session
}

// retryAfter is what the vendor asks for where it names a time.
const retryAfter = 42 * time.Second

const worker = "WK00000000000000000000000000000001"

// outcome is what followed.
type outcome struct {
	reason string
	dials  int // of the source by itself, in one session
	wait   time.Duration
	record event.Type
	cause  event.GapCause
}

// drive plays the script to a session of the real source that the real fleet has dialled, so often in a row, and says what followed the last time.
func drive(t *testing.T, sc script, times int) (x outcome) {
	t.Helper()
	var dials atomic.Int64
	live := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			sc.answer(w, r)
			return
		}
		dials.Add(1)
		sc.socket(w, r, live)
	}))
	defer server.Close()
	defer server.CloseClientConnections()

	cfg := vendorConfig(server.URL, sc.change)
	src, err := taskrouter.New(cfg, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	st := newStage(t, Options{}, 0)
	st.clock = time.Now() // the source's times are real
	a := cfg.Agent(worker)
	if sc.agent != "" {
		a.ID = sc.agent
	}
	a.Source = "toy"
	if err := st.SetRoster(map[string][]source.Agent{a.Source: {a}}); err != nil {
		t.Fatal(err)
	}
	d, _ := st.dialled()
	for range times {
		st.told()
		dials.Store(0)
		err = st.serve(d, src, sc, live)
		if sc.number != 0 && (!strings.Contains(err.Error(), fmt.Sprintf("code %d", sc.number)) || strings.Contains(err.Error(), "somebody")) {
			t.Errorf("got %q, want the vendor's number %d in it and not its message", err, sc.number)
		}
		st.fleet.ended(d.m, d.s, err)
		x = outcome{dials: int(dials.Load())}
		for _, e := range st.told() {
			switch {
			case e.Type == event.SessionGap && e.Data.Gap.State == event.GapOpened:
				x.cause = e.Data.Gap.Cause
			case e.Type == event.SessionLost, e.Type == event.SessionRefused, e.Type == event.SessionTokenExpired:
				x.record = e.Type
			}
			if s := e.Data.Session; s != nil && s.Reason != "" {
				x.reason = s.Reason
			}
		}
		if x.reason == "" { // nothing is told of a session that never was
			x.reason = retry.ReasonOf(err)
		}
		d, x.wait = st.dialled()
		x.wait = x.wait.Round(tickEvery)
	}
	return x
}

// vendorConfig is a source's whose event bridge is at the base URL.
func vendorConfig(base string, change func(*taskrouter.Config)) (cfg taskrouter.Config) {
	cfg.SetDefaults()
	cfg.Account, cfg.Workspace, cfg.APIKey = "AC00000000000000000000000000000001", "WS00000000000000000000000000000001", "SK00000000000000000000000000000001"
	cfg.APISecret, cfg.EventBridgeURL = config.NewSecret("a secret"), base+"/v1/wschannels"
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// retried says whether the script's answer asks for a pause.
func (sc script) retried() bool {
	return sc.command == http.StatusTooManyRequests || sc.command == http.StatusServiceUnavailable
}

// serve is the fleet's launch with the test between source and fleet.
func (st *stage) serve(d dial, src source.Source, sc script, live chan<- struct{}) error {
	ctx, cancel := context.WithCancelCause(st.t.Context())
	defer cancel(nil)
	d.m.attempt(d.s).cancel = cancel
	in := &intake{Intake: d.s, up: func() { live <- struct{}{} }}
	if sc.silent {
		in.up = func() { st.pass(31 * time.Second) }
	}
	err := src.Serve(ctx, d.m.Agent, in)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// intake says when a session has become live: a vendor that ends it earlier ends one that never was.
type intake struct {
	source.Intake
	up func()
}

func (i *intake) Up(f source.Feed, since, renewBy time.Time) {
	i.Intake.Up(f, since, renewBy)
	i.up()
}

func (sc script) socket(w http.ResponseWriter, r *http.Request, live <-chan struct{}) {
	if sc.upgrade != 0 {
		if sc.retryAfter {
			w.Header().Set("Retry-After", fmt.Sprint(int(retryAfter.Seconds())))
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(sc.upgrade)
		return
	}
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	first, lifetime := sc.first, sc.lifetime
	if lifetime == 0 {
		lifetime = 3_566_253
	}
	if first == "" {
		first = fmt.Sprintf(`{"event_type":"init","payload":{"channel_id":%q,"token_lifetime":%d}}`, worker, lifetime)
	}
	_ = conn.WriteMessage(websocket.TextMessage, []byte(first))
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _, _ = conn.ReadMessage() // the client's close frame, or the connection's end
	}()
	select {
	case <-live:
		if sc.end != nil {
			sc.end(conn)
		}
		<-left
	case <-left:
	}
}

func (sc script) answer(w http.ResponseWriter, r *http.Request) {
	if sc.command != 0 {
		if sc.retried() {
			w.Header().Set("Retry-After", fmt.Sprint(int(retryAfter.Seconds())))
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(sc.command)
		_, _ = fmt.Fprintf(w, `{"code":%d,"message":"somebody's name"}`, sc.number)
		return
	}
	body, _ := io.ReadAll(r.Body) // what is cut off gets the worker
	payload := `{"sid":"` + worker + `"}`
	switch {
	case strings.Contains(string(body), "/Reservations"):
		payload = `{"contents":[],"meta":{"list_key":"contents"}}`
	case sc.worker != "":
		payload = sc.worker
	}
	_, _ = io.WriteString(w, `{"event_type":null,"payload":`+payload+`}`)
}

func closeWith(c *websocket.Conn, code int) {
	// Not with FormatCloseMessage, which makes an empty frame of 1005.
	_ = c.WriteControl(websocket.CloseMessage, []byte{byte(code >> 8), byte(code)}, time.Now().Add(time.Minute))
}

func reset(c *websocket.Conn) {
	_ = c.NetConn().(*net.TCPConn).SetLinger(0)
	_ = c.NetConn().Close()
}

func write(b []byte) func(*websocket.Conn) {
	return func(c *websocket.Conn) { _, _ = c.NetConn().Write(b) }
}

var otherEnds = []reaction{
	{
		what: "close frame without a code", next: again, reason: "close_1005", record: event.SessionLost, cause: event.CauseConnectionLost,
		script: script{end: write([]byte{0x88, 0})},
	},
	{
		what: "TCP ended without a close frame", next: again, reason: "close_1006", record: event.SessionLost, cause: event.CauseConnectionLost,
		script: script{end: func(c *websocket.Conn) { _ = c.Close() }},
	},
	{what: "TCP reset", next: again, reason: "reset", record: event.SessionLost, cause: event.CauseConnectionLost, script: script{end: reset}},
	{
		what: "frame against RFC 6455", next: again, reason: "protocol_error", record: event.SessionLost, cause: event.CauseConnectionLost,
		script: script{end: write([]byte{0xff, 0})},
	},
	{
		what: "frame larger than 1 MiB", next: again, reason: "frame_too_big", record: event.SessionLost, cause: event.CauseConnectionLost,
		script: script{end: func(c *websocket.Conn) { _ = c.WriteMessage(websocket.TextMessage, make([]byte, 1<<20+1)) }},
	},
	{
		what: "any end after the token's", next: again, reason: "token_expired", record: event.SessionTokenExpired, cause: event.CauseTokenExpired,
		script: script{lifetime: 1, end: func(c *websocket.Conn) { closeWith(c, 1008) }},
	},
	{
		what: "nothing received for `silence_limit`", meaning: "half-open connection", next: again, reason: "silence", record: event.SessionLost, cause: event.CauseSilence,
		script: script{silent: true},
	},
	{
		what: "the third close in a row within a minute of its session's start", meaning: "a guess: another client closes its rivals", times: 3, next: again,
		reason: "evicted", record: event.SessionLost, cause: event.CauseEvicted, script: script{end: func(c *websocket.Conn) { closeWith(c, 1000) }},
	},
}

var noSession = []reaction{
	{what: "no `init` in time", next: again, reason: "init_timeout", script: script{first: "\n", change: func(c *taskrouter.Config) {
		c.InitTimeout = config.Duration(10 * time.Millisecond)
	}}},
	{what: "a read at the start has no usable answer", next: again, reason: "snapshot", script: script{worker: "null", change: func(c *taskrouter.Config) {
		c.SnapshotTimeout = config.Duration(10 * time.Millisecond)
	}}},
	{
		what: "the answer is about another worker", next: refused, reason: "wrong_worker", record: event.SessionRefused,
		script: script{worker: `{"sid":"WK00000000000000000000000000000002"}`},
	},
	{what: "the roster's id is no worker SID", next: refused, reason: "agent_id", record: event.SessionRefused, script: script{agent: "alice"}},
}

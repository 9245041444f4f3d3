package taskrouter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // until a test gives up; no test takes that long

const observer = "&closeExistingSessions=false&clientVersion=2.1.1&setWorkerOfflineIfDisconnected=false"

func start(t *testing.T, o Options) *Simulator {
	t.Helper()
	s, err := New(o, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// token mints an access token for the n-th worker; change, if not nil, spoils it.
func token(t *testing.T, s *Simulator, n int, change func(tok *jwt.Token, claims jwt.MapClaims)) string {
	t.Helper()
	r, now := s.Ready(), time.Now().Unix()
	claims := jwt.MapClaims{
		"jti": r.APIKey + "-1", "iss": r.APIKey, "sub": r.Account, "iat": now, "exp": now + 3600,
		"grants": map[string]any{"identity": "taskbridge", "task_router": map[string]any{
			"workspace_sid": r.Workspace, "worker_sid": r.Workers[n], "role": "worker",
		}},
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	tok.Header["cty"] = "twilio-fpa;v=1"
	if change != nil {
		change(tok, claims)
	}
	signed, err := tok.SignedString([]byte(r.APISecret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func socketURL(s *Simulator, tok, rest string) string {
	return "ws" + strings.TrimPrefix(s.Ready().EventBridgeURL, "http") + "?token=" + tok + rest
}

// dial opens a socket of the n-th worker and reads init and the first heartbeat.
func dial(t *testing.T, s *Simulator, n int, rest string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.DefaultDialer.Dial(socketURL(s, token(t, s, n, nil), rest), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if m := read(t, c); m.EventType != "init" || m.Payload["channel_id"] != s.Ready().Workers[n] {
		t.Fatalf("got %v first, want init of worker %d", m, n)
	}
	if _, b, err := c.ReadMessage(); err != nil || string(b) != "\n" {
		t.Fatalf("got %q, %v after init, want a heartbeat", b, err)
	}
	return c
}

type message struct {
	EventType string         `json:"event_type"`
	Payload   map[string]any `json:"payload"`
}

// read returns the next frame that is no heartbeat.
func read(t *testing.T, c *websocket.Conn) message {
	t.Helper()
	for {
		kind, b, err := c.ReadMessage()
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if len(bytes.TrimSpace(b)) == 0 {
			continue
		}
		var m message
		if err := json.Unmarshal(b, &m); err != nil || kind != websocket.TextMessage {
			t.Fatalf("frame of kind %d: %v", kind, err)
		}
		return m
	}
}

// post sends one command and decodes its answer.
func post(t *testing.T, s *Simulator, apiVersion, tok, path string, params map[string]any) (int, map[string]any) {
	t.Helper()
	return submit(t, s.Ready().EventBridgeURL, apiVersion, text(map[string]any{"url": path, "method": "GET", "params": params, "token": tok}))
}

func submit(t *testing.T, to, apiVersion, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("apiVersion", apiVersion)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

func TestUpgradeIsRefused(t *testing.T) {
	s := start(t, Options{Workers: 1})
	grants := func(c jwt.MapClaims) map[string]any {
		return c["grants"].(map[string]any)["task_router"].(map[string]any)
	}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"no token":     {"", 400},
		"no JWT":       {"abc", 401},
		"expired":      {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { c["exp"] = time.Now().Unix() - 1 }), 401},
		"no expiry":    {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "exp") }), 401},
		"badly signed": {token(t, s, 0, nil) + "x", 401},
		"other key":    {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { c["iss"] = "SK2" }), 401},
		"other type":   {token(t, s, 0, func(tok *jwt.Token, _ jwt.MapClaims) { delete(tok.Header, "cty") }), 401},
		"too long":     {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { c["exp"] = time.Now().Unix() + 86500 }), 401},
		"no role":      {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { grants(c)["role"] = "" }), 403},
		"no worker":    {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { grants(c)["worker_sid"] = "WK2" }), 403},
		"workspace":    {token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { grants(c)["workspace_sid"] = "WS2" }), 403},
	} {
		_, resp, err := websocket.DefaultDialer.Dial(socketURL(s, c.token, observer), nil)
		if err == nil || resp == nil || resp.StatusCode != c.want {
			t.Errorf("%s: got %v, %v at upgrade, want status %d", name, resp, err, c.want)
		}
		if c.token == "" {
			continue
		}
		status, answer := post(t, s, "v1", c.token, "Workspaces/"+s.o.Workspace+"/Activities", nil)
		if message, ok := answer["message"].(string); status != c.want || !ok || message == "" || strings.Contains(message, c.token) {
			t.Errorf("%s: got %d, %v to a POST, want %d with a message", name, status, answer, c.want)
		}
	}
	dials := 0
	for _, d := range s.State().Dials {
		dials += d.Count
	}
	if dials != 11 {
		t.Errorf("got %d dials counted, want 11", dials)
	}
	want := []StatusCount{{400, 1}, {401, 7}, {403, 3}}
	if diff := cmp.Diff(want, s.State().Refused); diff != "" {
		t.Errorf("refused upgrades: %s", diff)
	}
}

func TestInitAndHeartbeats(t *testing.T) {
	s := start(t, Options{Heartbeat: 5 * time.Millisecond})
	c, _, err := websocket.DefaultDialer.Dial(socketURL(s, token(t, s, 3, nil), observer), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	m := read(t, c)
	life, ok := m.Payload["token_lifetime"].(float64)
	if !ok || life <= 3500_000 || life > 3600_000 {
		t.Errorf("got token_lifetime %v, want what is left of 3600000 ms", m.Payload["token_lifetime"])
	}
	delete(m.Payload, "token_lifetime")
	want := message{"init", map[string]any{"channel_id": s.Ready().Workers[3], "account_sid": s.o.Account, "workspace_sid": s.o.Workspace}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("init: %s", diff)
	}
	for i := range 5 {
		if kind, b, err := c.ReadMessage(); err != nil || kind != websocket.TextMessage || string(b) != "\n" {
			t.Fatalf("frame %d after init: got %d %q %v, want a heartbeat", i, kind, b, err)
		}
	}
}

// sameOrder checks that frames are exactly the worker's ledger entries from the i-th on.
func sameOrder(t *testing.T, frames []message, entries []Entry) {
	t.Helper()
	if len(frames) != len(entries) {
		t.Fatalf("got %d frames, want %d", len(frames), len(entries))
	}
	for i, e := range entries {
		if f := frames[i]; f.EventType != e.EventType || f.Payload["sid"] != e.Resource {
			t.Fatalf("frame %d: got %s %v, want entry %d: %s %s", i, f.EventType, f.Payload["sid"], e.Seq, e.EventType, e.Resource)
		}
	}
}

func entriesOf(s *Simulator, worker string) (of []Entry) {
	for _, e := range s.Ledger() {
		if e.Worker == worker {
			of = append(of, e)
		}
	}
	return of
}

func TestSocketsCarryTheLedgerInOrder(t *testing.T) {
	s := start(t, Options{Workers: 3, Rate: 2000})
	var sockets []*websocket.Conn
	for n := range 3 {
		sockets = append(sockets, dial(t, s, n, observer), dial(t, s, n, observer))
	}
	at := len(s.Ledger())
	waitFor(t, "500 more entries", func() bool { return len(s.Ledger()) > at+500 })
	s.StopWorkload()
	after := s.Ledger()
	for i, c := range sockets {
		entries := entriesOf(s, s.Ready().Workers[i/2])
		// The first of two sockets began with the first entry delivered, the second with the first delivered twice.
		from := slices.IndexFunc(entries, func(e Entry) bool { return e.Delivered > i%2 })
		var frames []message
		for range entries[from:] {
			frames = append(frames, read(t, c))
		}
		sameOrder(t, frames, entries[from:])
		both := slices.IndexFunc(entries, func(e Entry) bool { return e.Delivered == 2 })
		for _, e := range entries[both:] {
			if e.Delivered != 2 {
				t.Errorf("entry %d was delivered to %d sockets, want 2", e.Seq, e.Delivered)
			}
		}
	}
	for i, e := range after[:3] {
		if e.EventType != "worker.activity.update" || e.Delivered != 0 || e.Worker != s.Ready().Workers[i] {
			t.Errorf("entry %d: got %+v, want the initial activity of worker %d, delivered 0", e.Seq, e, i)
		}
	}
	for i, e := range after {
		if e.Seq != int64(i)+1 {
			t.Fatalf("entry %d has seq %d", i, e.Seq)
		}
	}
	if got := len(s.Ledger()); got != len(after) {
		t.Errorf("got %d entries after StopWorkload, want %d", got, len(after))
	}
}

// An event is in what is read after init, or comes on the socket, whenever the client joins.
func TestSnapshotAndEventsMissNothing(t *testing.T) {
	s := start(t, Options{Workers: 5, Rate: 3000})
	began := time.Now()
	s.mu.Lock()
	s.world.now = func() time.Time { return began.Add(100 * time.Since(began)) } // workers can be available again soon
	s.mu.Unlock()
	worker := s.Ready().Workers[0]
	path := "Workspaces/" + s.o.Workspace + "/Workers/" + worker + "/Reservations"
	tok := token(t, s, 0, nil)
	list := func() map[string]string { // status by reservation
		open := map[string]string{}
		status, answer := post(t, s, "v2", tok, path, map[string]any{"Active": "true", "PageSize": 1000})
		if status != http.StatusOK {
			t.Fatalf("list: status %d", status)
		}
		for _, r := range answer["payload"].(map[string]any)["contents"].([]any) {
			r := r.(map[string]any)
			open[r["sid"].(string)] = r["reservation_status"].(string)
		}
		return open
	}
	type join struct {
		c    *websocket.Conn
		read map[string]string
	}
	var joins []join
	for busy := 0; len(joins) < 10 || busy < 3; { // a read without reservations shows little
		at := len(s.Ledger())
		j := join{dial(t, s, 0, observer), list()}
		joins = append(joins, j)
		if len(j.read) > 0 {
			busy++
		}
		waitFor(t, "life to go on", func() bool { return len(s.Ledger()) > at+100 })
	}
	s.StopWorkload()
	send(t, s, worker, `{"event_type":"end"}`)
	entries := entriesOf(s, worker)
	for i, j := range joins {
		var frames []message
		for m := read(t, j.c); m.EventType != "end"; m = read(t, j.c) {
			frames = append(frames, m)
		}
		first := len(entries) - len(frames)
		sameOrder(t, frames, entries[first:])
		// What was read is the state between two entries, and the first of them is not older than the socket.
		open := map[string]string{}
		seen := first == 0 && len(j.read) == 0
		for n, e := range entries {
			switch e.EventType {
			case "reservation.created":
				open[e.Resource] = "pending"
			case "reservation.accepted":
				open[e.Resource] = "accepted"
			case "reservation.wrapup":
				open[e.Resource] = "wrapping"
			default:
				delete(open, e.Resource)
			}
			seen = seen || n+1 >= first && cmp.Equal(open, j.read)
		}
		if !seen {
			t.Errorf("join %d: read %v, which is no state from entry %d of the worker on", i, j.read, first)
		}
	}
}

func TestStartUpReads(t *testing.T) {
	s := start(t, Options{Workers: 2})
	tok, workspace, r := token(t, s, 0, nil), "Workspaces/"+s.o.Workspace, s.Ready()
	own := workspace + "/Workers/" + r.Workers[0]
	waitFor(t, "two open reservations", func() bool {
		do(t, s, Action{Do: "step", Count: 1})
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.world.workers[0].reservations) >= 2
	})
	status, answer := post(t, s, "v1", tok, own, nil)
	if _, ok := answer["event_type"]; status != 200 || !ok || answer["event_type"] != nil || answer["payload"].(object)["sid"] != r.Workers[0] {
		t.Errorf("fetch worker: got %d %v", status, answer)
	}
	activity := answer["payload"].(object)["activity_sid"]
	for path, keys := range map[string][]string{
		workspace + "/Activities": {"account_sid", "workspace_sid", "sid", "friendly_name", "available", "date_created", "date_updated"},
		own + "/WorkerChannels":   channelKeys,
		own + "/Reservations":     reservationKeys,
	} {
		var all []any
		params := object{"PageSize": 1, "Active": "true"}
		for pages := 1; ; pages++ {
			status, answer := post(t, s, "v2", tok, path, params)
			if status != 200 {
				t.Fatalf("%s: status %d: %v", path, status, answer)
			}
			payload := answer["payload"].(object)
			if payload["meta"].(object)["list_key"] != "contents" || len(payload["contents"].([]any)) != 1 {
				t.Fatalf("%s: page %d: %v", path, pages, payload)
			}
			all = append(all, payload["contents"].([]any)...)
			if payload["after_sid"] == nil {
				break
			}
			params["AfterSid"] = payload["after_sid"]
		}
		_, answer := post(t, s, "v2", tok, path, object{"PageSize": 1000, "Active": "true"})
		whole := answer["payload"].(object)
		if diff := cmp.Diff(whole["contents"], any(all)); diff != "" || whole["after_sid"] != nil || len(all) < 2 {
			t.Errorf("%s: pages of 1 against one of 1000: %s", path, diff)
		}
		for _, k := range keys {
			if _, ok := all[0].(object)[k]; !ok {
				t.Errorf("%s: no %s in %v", path, k, all[0])
			}
		}
		if strings.HasSuffix(path, "Activities") && !slices.ContainsFunc(all, func(a any) bool { return a.(object)["sid"] == activity }) {
			t.Errorf("the worker's activity %v is not in %v", activity, all)
		}
	}
	supervisor := token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) {
		c["grants"].(map[string]any)["task_router"].(map[string]any)["role"] = "supervisor"
	})
	other := workspace + "/Workers/" + r.Workers[1]
	for name, c := range map[string]struct {
		apiVersion, token, path string
		params                  object
		want                    int
	}{
		"another worker":        {"v1", tok, other, nil, 403},
		"supervisor":            {"v1", supervisor, other, nil, 200},
		"another workspace":     {"v1", tok, "Workspaces/WS2/Activities", nil, 403},
		"unknown resource":      {"v1", tok, workspace + "/Nothing", nil, 404},
		"unknown sub-resource":  {"v1", tok, own + "/Nothing", nil, 404},
		"unknown worker":        {"v1", supervisor, workspace + "/Workers/WK2", nil, 404},
		"page size":             {"v1", tok, workspace + "/Activities", object{"PageSize": 1001}, 400},
		"reservations of v1":    {"v1", tok, own + "/Reservations", object{"Active": "true"}, 400},
		"reservations that end": {"v2", tok, own + "/Reservations", nil, 400},
	} {
		status, answer := post(t, s, c.apiVersion, c.token, c.path, c.params)
		if _, ok := answer["message"].(string); status != c.want || (status != 200 && !ok) {
			t.Errorf("%s: got %d %v, want %d", name, status, answer, c.want)
		}
	}
	if status, answer := submit(t, r.EventBridgeURL, "v1", "{"); status != 400 || answer["message"] == "" {
		t.Errorf("bad JSON: got %d %v, want 400", status, answer)
	}
	if !slices.Contains(s.State().Posts, PostCount{"GET Workers/{WK}", 200, 2}) {
		t.Errorf("posts: got %v, want two of GET Workers/{WK} with 200", s.State().Posts)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, Options{Workers: 2})
	r := s.Ready()
	inject := func(f Fault) {
		t.Helper()
		if status, answer := submit(t, r.ControlURL+"/fault", "", text(f)); status != http.StatusNoContent {
			t.Fatalf("fault: got %d %v, want 204", status, answer)
		}
	}
	t.Run("close", func(t *testing.T) {
		c, other := dial(t, s, 0, observer), dial(t, s, 1, observer)
		inject(Fault{Kind: "close", Workers: r.Workers[:1], Code: 4001, Reason: "maintenance"})
		_, _, err := c.ReadMessage()
		var closed *websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 4001 || closed.Text != "maintenance" {
			t.Errorf("got %v, want close code 4001 maintenance", err)
		}
		send(t, s, r.Workers[1], `{"event_type":"alive"}`)
		if m := read(t, other); m.EventType != "alive" {
			t.Errorf("the other worker got %v, want its frame", m)
		}
	})
	t.Run("reset", func(t *testing.T) {
		c := dial(t, s, 0, observer)
		inject(Fault{Kind: "reset"})
		if _, _, err := c.ReadMessage(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a connection reset", err)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		before := len(s.Ledger())
		c := dial(t, s, 0, observer)
		inject(Fault{Kind: "malformed"})
		for i, want := range []frame{notJSON, truncated, unknownType, nullPayload, binary, invalidUTF8} {
			kind, b, err := c.ReadMessage()
			if err != nil || kind != want.kind || !bytes.Equal(b, want.data) {
				t.Errorf("frame %d: got %d %q %v", i, kind, b, err)
			}
		}
		if after := len(s.Ledger()); after != before {
			t.Errorf("got %d entries, want %d as before", after, before)
		}
	})
	t.Run("oversized", func(t *testing.T) {
		c := dial(t, s, 0, observer)
		c.SetReadLimit(1 << 20)
		inject(Fault{Kind: "oversized"})
		if _, _, err := c.ReadMessage(); !errors.Is(err, websocket.ErrReadLimit) {
			t.Errorf("got %v, want the limit of 1 MiB exceeded", err)
		}
	})
	t.Run("refuse", func(t *testing.T) {
		inject(Fault{Kind: "refuse", Workers: r.Workers[:1], Code: 429, DurationMS: 60_000})
		_, resp, err := websocket.DefaultDialer.Dial(socketURL(s, token(t, s, 0, nil), observer), nil)
		if err == nil || resp.StatusCode != 429 {
			t.Errorf("got %v, want 429", err)
		}
		dial(t, s, 1, observer)
		s.mu.Lock()
		if got := s.lasting("refuse", s.world.workers[0], time.Now().Add(time.Minute)); got != nil {
			t.Errorf("got %v a minute later, want no refusal", got)
		}
		s.mu.Unlock()
		st := s.State()
		if got := st.Faults[len(st.Faults)-1]; got.Seconds <= 0 || got.Seconds > 60 || got.Affected != 1 || got.Code != 429 || st.FaultSeconds != got.Seconds {
			t.Errorf("got %+v, %v fault seconds, want one worker's time so far", got, st.FaultSeconds)
		}
	})
	for _, bad := range []string{
		`{"kind":"flood"}`, `{"kind":"close","code":1006}`, `{"kind":"refuse","code":200}`, `{"kind":"reset","code":1001}`, `{"kind":"fail"}`, `{"kind":"mute","duration_ms":-1}`,
		`{"kind":"mute","workers":["WK9"]}`, `{"kind":"mute","seconds":3}`, `mute`,
	} {
		if status, answer := submit(t, r.ControlURL+"/fault", "", bad); status != 400 || answer["message"] == nil {
			t.Errorf("%s: got %d %v, want 400", bad, status, answer)
		}
	}
}

func TestMutedSocketStaysOpenAndSilent(t *testing.T) {
	s := start(t, Options{Workers: 1, Heartbeat: 2 * time.Millisecond})
	muted := dial(t, s, 0, observer)
	if err := s.Inject(Fault{Kind: "mute"}); err != nil {
		t.Fatal(err)
	}
	fresh := dial(t, s, 0, observer) // sockets opened later are not muted
	do(t, s, Action{Do: "step", Count: 20})
	s.StopWorkload() // must not wait for the muted one
	for range 20 {
		read(t, fresh)
	}
	for _, e := range s.Ledger()[1:] {
		if e.Delivered != 1 {
			t.Errorf("entry %d was delivered to %d sockets, want 1", e.Seq, e.Delivered)
		}
	}
	if got := s.State().Workers[0].Now; got != 2 {
		t.Errorf("got %d sockets, want the muted one open too", got)
	}
	if err := muted.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		_, b, err := muted.ReadMessage()
		if err != nil {
			if e, ok := errors.AsType[interface {
				error
				Timeout() bool
			}](err); !ok || !e.Timeout() {
				t.Errorf("got %v, want silence", err)
			}
			return
		}
		if string(b) != "\n" { // heartbeats from before the fault may be under way
			t.Fatalf("got %q on a muted socket", b)
		}
	}
}

func TestMuteThatEndsHoldsFramesBack(t *testing.T) {
	s := start(t, Options{Workers: 1})
	c := dial(t, s, 0, observer)
	if err := s.Inject(Fault{Kind: "mute", DurationMS: 100}); err != nil {
		t.Fatal(err)
	}
	do(t, s, Action{Do: "step", Count: 20})
	var frames []message
	for range 20 {
		frames = append(frames, read(t, c))
	}
	sameOrder(t, frames, s.Ledger()[1:21])
	until := s.State().Faults[0].At.Add(100 * time.Millisecond)
	waitFor(t, "delivery to be noted", func() bool { return s.Ledger()[20].Delivered == 1 })
	for _, e := range s.Ledger()[1:21] {
		if e.At.Before(until.Truncate(time.Millisecond)) {
			t.Errorf("entry %d was written at %v, want not before %v", e.Seq, e.At, until)
		}
	}
}

func TestStuckClientIsResetAndHoldsUpNobody(t *testing.T) {
	s := start(t, Options{Workers: 2})
	dial(t, s, 0, observer) // and never read
	other := dial(t, s, 1, observer)
	big := `{"event_type":"big","payload":{"x":"` + strings.Repeat("x", 4<<10) + `"}}`
	for range 3 * maxQueued { // more than the queue and the kernel's buffers hold
		send(t, s, s.Ready().Workers[0], big)
	}
	send(t, s, s.Ready().Workers[1], `{"event_type":"alive"}`)
	if m := read(t, other); m.EventType != "alive" {
		t.Errorf("got %v, want the frame behind the stuck worker's", m.EventType)
	}
	waitFor(t, "the stuck socket to go", func() bool { return s.State().Workers[0].Now == 0 })
}

func TestWhatClientsDoIsCounted(t *testing.T) {
	s := start(t, Options{Workers: 1})
	first, second := dial(t, s, 0, observer), dial(t, s, 0, observer)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "sockets to go", func() bool { return s.State().Workers[0].Now == 0 })
	got := s.State()
	if err := got.OnlyObserved(); err != nil {
		t.Errorf("observers: %v", err)
	}
	if w := got.Workers[0]; w.Now != 0 || w.Max != 2 || w.Opened != 2 {
		t.Errorf("sockets: got %+v, want none now, 2 at most and 2 opened", w)
	}

	evicted := dial(t, s, 0, observer)
	owner := dial(t, s, 0, "&closeExistingSessions=true&clientVersion=2.1.1")
	if _, _, err := evicted.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("got %v, want the existing session closed", err)
	}
	for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage, websocket.PingMessage} {
		if err := owner.WriteMessage(kind, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "frames to be counted", func() bool { return s.State().ClientFrames == 3 })
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the worker to go offline", func() bool { return s.State().PresenceChanges == 2 })
	if got := s.State().Evictions; got != 1 {
		t.Errorf("got %d evictions, want 1", got)
	}
}

func TestExpiredTokenEndsTheSession(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Workers: 1})
	tok := token(t, s, 0, func(_ *jwt.Token, c jwt.MapClaims) { c["exp"] = time.Now().Unix() + 3 })
	c, _, err := websocket.DefaultDialer.Dial(socketURL(s, tok, observer), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	err = c.SetReadDeadline(time.Now().Add(patience))
	for err == nil {
		_, _, err = c.ReadMessage()
	}
	if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
		t.Errorf("got %v, want close code 1008", err)
	}
}

func TestRunClosesSocketsAndFreesTheAddress(t *testing.T) {
	s, err := New(Options{Workers: 2, Rate: 500}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	c := dial(t, s, 0, observer)
	cancel()
	for err == nil {
		_, _, err = c.ReadMessage()
	}
	if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("got %v, want close code 1001", err)
	}
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	again, err := New(Options{Listen: s.listener.Addr().String()}, zap.NewNop())
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	if err := again.Run(ctx); err != nil {
		t.Errorf("Run with an ended context: %v", err)
	}
}

func TestAddWorker(t *testing.T) {
	s := start(t, Options{Workers: 1})
	sid := do(t, s, Action{Do: "worker.add"}).Worker
	if got := s.Ready().Workers; len(got) != 2 || got[1] != sid {
		t.Fatalf("got workers %v, want %s second", got, sid)
	}
	if e := entriesOf(s, sid); len(e) != 1 || e[0].EventType != "worker.activity.update" || e[0].Delivered != 0 {
		t.Errorf("got entries %v, want the initial activity", e)
	}
	dial(t, s, 1, observer)
}

func TestLedgerAndStateOverHTTP(t *testing.T) {
	s := start(t, Options{Workers: 1})
	do(t, s, Action{Do: "step", Count: 10})
	fetch := func(path string) []byte {
		resp, err := http.Get(s.Ready().ControlURL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d, %v", path, resp.StatusCode, err)
		}
		return b
	}
	var got []Entry
	for lines := json.NewDecoder(bytes.NewReader(fetch("/ledger"))); lines.More(); {
		var e Entry
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if diff := cmp.Diff(s.Ledger(), got); diff != "" {
		t.Errorf("ledger: %s", diff)
	}
	var st State
	if err := json.Unmarshal(fetch("/state"), &st); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.State(), st); diff != "" {
		t.Errorf("state: %s", diff)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{
		{Workers: -1},
		{Workers: 100_001},
		{Rate: -1},
		{Rate: math.NaN()},
		{Rate: 1e300},
		{Heartbeat: -1},
		{Sockets: -1},
		{Account: "x"},
		{Workspace: "WS1"},
		{APIKey: "AC00000000000000000000000000000001"},
		{Listen: "nowhere"},
	} {
		if s, err := New(o, zap.NewNop()); err == nil {
			_ = s.listener.Close()
			t.Errorf("%+v: got no error", o)
		}
	}
}

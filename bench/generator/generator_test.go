package generator_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/tidwall/gjson"
	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

// start runs a generator until the test ends.
func start(t *testing.T, certificate *tls.Certificate) (generator.Ready, generator.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan generator.Ready, 1), make(chan error, 1)
	go func() {
		ended <- generator.New().Run(ctx, certificate, func(r generator.Ready) error {
			ready <- r
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	r := <-ready
	return r, generator.Client{Control: r.Control}
}

func socketURL(r generator.Ready, query string) string {
	return strings.Replace(r.URL, "http", "ws", 1) + "?" + query
}

func token(agent uint32) string {
	claims := fmt.Sprintf(`{"exp":%d,"grants":{"task_router":{"worker_sid":%q}}}`, time.Now().Add(time.Hour).Unix(), wire.Worker(agent))
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// dial opens an agent's socket and reads what it begins with.
func dial(t *testing.T, d *websocket.Dialer, r generator.Ready, agent uint32) *websocket.Conn {
	t.Helper()
	conn, resp, err := d.DialContext(t.Context(), socketURL(r, "token="+token(agent)+"&closeExistingSessions=false"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	first := read(t, conn)
	left := gjson.GetBytes(first, "payload.token_lifetime").Int()
	if gjson.GetBytes(first, "event_type").Str != "init" || gjson.GetBytes(first, "payload.channel_id").Str != wire.Worker(agent) ||
		left < 3_500_000 || left > 3_600_000 {
		t.Errorf("got %s, want init with about an hour left", first)
	}
	if second := read(t, conn); string(second) != "\n" {
		t.Errorf("got %q, want a heartbeat", second)
	}
	return conn
}

func read(t *testing.T, conn *websocket.Conn) []byte {
	t.Helper()
	kind, body, err := conn.ReadMessage()
	if err != nil || kind != websocket.TextMessage {
		t.Fatalf("got %d, %q, %v, want a text frame", kind, body, err)
	}
	return body
}

// awaitSockets returns when the generator has so many.
func awaitSockets(t *testing.T, c generator.Client, n int) {
	t.Helper()
	for {
		stat, err := c.Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if stat.Sockets == n {
			return
		}
	}
}

// readEvents reads n events of an agent from first on, whatever heartbeats are among them.
func readEvents(t *testing.T, conn *websocket.Conn, agent uint32, first, n uint64) {
	t.Helper()
	for seq := first; seq < first+n; {
		body := read(t, conn)
		if string(body) == "\n" {
			continue
		}
		want := wire.Event{Agent: agent, Seq: seq}.ID()
		if got, _ := wire.AppendIdentity(nil, body); string(got) != want {
			t.Fatalf("agent %d: got %s, want %s", agent, got, want)
		}
		seq++
	}
}

// A flood, then a paced load: every agent's events come in order, and go on where the last ended.
func TestLoads(t *testing.T) {
	const agents = 3
	r, c := start(t, nil)
	var conns []*websocket.Conn
	for agent := range uint32(agents) {
		conns = append(conns, dial(t, websocket.DefaultDialer, r, agent))
	}
	awaitSockets(t, c, agents)
	next := uint64(0)
	for _, load := range []struct {
		cycles uint64
		rate   float64
	}{{5, 0}, {1, 5000}, {1, 0}} {
		n := load.cycles * agents * wire.Cycle
		started, err := c.Go(t.Context(), n, load.rate)
		if err != nil {
			t.Fatal(err)
		}
		if started.First != next || started.Each != load.cycles*wire.Cycle || started.Agents != agents {
			t.Errorf("got %+v, want %d events each from %d on", started, load.cycles*wire.Cycle, next)
		}
		for agent, conn := range conns {
			readEvents(t, conn, uint32(agent), next, started.Each)
		}
		var stat generator.Stat
		for !stat.Ended {
			if stat, err = c.Stat(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if stat.Sent != n || stat.Error != "" {
			t.Errorf("got %+v, want %d sent", stat, n)
		}
		if load.rate > 0 {
			checkStamps(t, c, started, n, load.rate)
		}
		next += started.Each
	}
}

// checkStamps: never before it is due.
func checkStamps(t *testing.T, c generator.Client, started generator.Started, n uint64, rate float64) {
	t.Helper()
	stamps, err := c.Stamps(t.Context(), int(n))
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range stamps {
		// The two clocks, one of them monotonic, may be a little apart.
		if due := started.Began + int64(float64(i)/rate*1e9) - int64(time.Millisecond); at < due {
			t.Fatalf("event %d was sent at %d, due at %d", i, at, due)
		}
	}
}

func TestRefusedLoads(t *testing.T) {
	r, c := start(t, nil)
	if _, err := c.Go(t.Context(), wire.Cycle, 0); err == nil {
		t.Error("got no error without a socket")
	}
	dial(t, websocket.DefaultDialer, r, 0)
	awaitSockets(t, c, 1)
	if _, err := c.Go(t.Context(), wire.Cycle+1, 0); err == nil {
		t.Error("got no error for a part of a cycle, which leaves tasks open")
	}
	dial(t, websocket.DefaultDialer, r, 2)
	awaitSockets(t, c, 2)
	if _, err := c.Go(t.Context(), 2*wire.Cycle, 0); err == nil {
		t.Error("got no error without agent 1")
	}
	if _, err := c.Stamps(t.Context(), 1); err == nil {
		t.Error("got the stamps of no load")
	}
}

func TestDrop(t *testing.T) {
	r, c := start(t, nil)
	before := time.Now()
	a, b := dial(t, websocket.DefaultDialer, r, 0), dial(t, websocket.DefaultDialer, r, 1)
	awaitSockets(t, c, 2)
	if n, err := c.Drop(t.Context()); n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2 sockets closed", n, err)
	}
	for _, conn := range []*websocket.Conn{a, b} {
		if _, _, err := conn.ReadMessage(); err == nil {
			t.Error("a socket is still open")
		}
	}
	awaitSockets(t, c, 0)
	d, err := c.Dials(t.Context(), before)
	if err != nil || d.Count != 2 || d.Peak < 1 || d.First > d.Last || d.First < before.UnixNano() {
		t.Errorf("got %+v, %v, want 2 dials", d, err)
	}
	if d, err = c.Dials(t.Context(), time.Now()); d.Count != 0 || err != nil {
		t.Errorf("got %+v, %v, want none from now on", d, err)
	}
}

func TestTLS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "certificate.pem")
	certificate, err := generator.Certificate(file)
	if err != nil {
		t.Fatal(err)
	}
	r, c := start(t, certificate)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", text)
	}
	conn := dial(t, &websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: trusted}}, r, 0)
	awaitSockets(t, c, 1)
	if _, err := c.Go(t.Context(), wire.Cycle, 0); err != nil {
		t.Fatal(err)
	}
	readEvents(t, conn, 0, 0, wire.Cycle)
}

func TestCommands(t *testing.T) {
	r, _ := start(t, nil)
	for path, want := range map[string]struct {
		status int
		field  string
		is     string
	}{
		wire.Worker(5):                   {200, "payload.sid", wire.Worker(5)},
		wire.Worker(5) + "/Reservations": {200, "payload.contents", "[]"},
		"WKnobody":                       {404, "code", "20404"},
	} {
		body := fmt.Sprintf(`{"url":"Workspaces/%s/Workers/%s","method":"GET","params":{},"token":"x"}`, wire.Workspace, path)
		resp, err := http.Post(r.URL, "application/x-www-form-urlencoded", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := gjson.GetBytes(answer, want.field).String(); err != nil || resp.StatusCode != want.status || got != want.is {
			t.Errorf("%s: got %d, %s, %v", path, resp.StatusCode, answer, err)
		}
	}
}

func TestBadSockets(t *testing.T) {
	r, _ := start(t, nil)
	for _, query := range []string{"", "token=x", "token=a.!.b", "token=e30.e30.c2ln"} {
		conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), socketURL(r, query), nil)
		if err == nil {
			_ = conn.Close()
			t.Errorf("%q: was taken", query)
		}
		if resp == nil || resp.StatusCode < 400 {
			t.Errorf("%q: got %v, want a refusal", query, resp)
		}
	}
}

package taskrouter

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testAccount   = "AC00000000000000000000000000000001"
	testWorkspace = "WS00000000000000000000000000000001"
	testWorker    = "WK00000000000000000000000000000001"
	testSecret    = "an-api-secret-nobody-may-see"
	testLife      = 3_566_253 * time.Millisecond // what init says: protocol, section 4.3

	initFrame   = `{"event_type":"init","payload":{"channel_id":"` + testWorker + `","token_lifetime":3566253}}`
	workerBody  = `{"sid":"` + testWorker + `","version":17}`
	wantTimeout = 20 * time.Second
)

// posted is a command as the vendor received it.
type posted struct {
	URL    string
	Method string
	Params map[string]any
	Token  string
	header http.Header
}

// vendor is a scripted event bridge. Its funcs are set before the first session.
type vendor struct {
	*httptest.Server
	t        testing.TB
	onDial   func(http.ResponseWriter, *http.Request) bool // true: answered, no upgrade
	onOpen   func(*peer)                                   // instead of init and a heartbeat
	onPost   func(http.ResponseWriter, posted) bool        // true: answered
	closing  chan struct{}
	handlers sync.WaitGroup

	mu      sync.Mutex
	queries []string
	posts   []posted
	peers   []*peer
}

// peer is the vendor's end of a socket.
type peer struct {
	*websocket.Conn
	t     testing.TB
	mu    sync.Mutex // for writing
	pongs chan string
}

func newVendor(t testing.TB) *vendor {
	v := &vendor{t: t, closing: make(chan struct{})}
	v.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock() // orders this before the Wait
		v.handlers.Add(1)
		v.mu.Unlock()
		defer v.handlers.Done()
		if r.Method == http.MethodPost {
			v.servePost(w, r)
		} else {
			v.serveSocket(w, r)
		}
	}))
	t.Cleanup(func() {
		close(v.closing)
		v.mu.Lock()
		for _, p := range v.peers {
			_ = p.Close()
		}
		v.mu.Unlock()
		v.CloseClientConnections()
		v.Close()
		v.handlers.Wait()
	})
	return v
}

// startVendor is newVendor for those that need no script.
func startVendor(t testing.TB) *vendor {
	v := newVendor(t)
	v.Start()
	return v
}

func (v *vendor) serveSocket(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.queries = append(v.queries, r.URL.RawQuery)
	v.mu.Unlock()
	if v.onDial != nil && v.onDial(w, r) {
		return
	}
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		v.t.Errorf("upgrade: %v", err)
		return
	}
	p := &peer{Conn: conn, t: v.t, pongs: make(chan string, 1)}
	conn.SetPongHandler(func(text string) error { p.pongs <- text; return nil })
	conn.SetPingHandler(func(string) error { v.t.Error("the client sent a ping"); return nil })
	v.mu.Lock()
	v.peers = append(v.peers, p)
	v.mu.Unlock()
	if v.onOpen != nil {
		v.onOpen(p)
	} else {
		p.send(initFrame, "\n")
	}
	for {
		kind, _, err := conn.ReadMessage()
		if err != nil {
			_ = conn.Close()
			return
		}
		v.t.Errorf("the client sent a data frame of type %d", kind)
	}
}

func (v *vendor) servePost(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c := posted{header: r.Header}
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil {
		v.t.Errorf("POST body: %v", err)
	}
	v.mu.Lock()
	v.posts = append(v.posts, c)
	v.mu.Unlock()
	switch {
	case v.onPost != nil && v.onPost(w, c):
	case strings.HasSuffix(c.URL, "/Reservations"), strings.HasSuffix(c.URL, "/WorkerChannels"):
		answerList(w, "", `{"sid":"WR1"}`)
	default:
		answer(w, workerBody)
	}
}

func answer(w http.ResponseWriter, payload string) {
	_, _ = io.WriteString(w, `{"event_type":null,"payload":`+payload+`}`)
}

func answerList(w http.ResponseWriter, afterSID string, items ...string) {
	after := "null"
	if afterSID != "" {
		after = `"` + afterSID + `"`
	}
	answer(w, `{"contents":[`+strings.Join(items, ", ")+`],"meta":{"list_key":"contents"},"after_sid":`+after+`,"before_sid":null}`)
}

// stall waits until the client or the test goes away.
func (v *vendor) stall(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-v.closing:
	}
}

func (v *vendor) all() []*peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]*peer(nil), v.peers...)
}

func (v *vendor) allPosts() []posted {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]posted(nil), v.posts...)
}

func (v *vendor) allQueries() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.queries...)
}

func (p *peer) send(texts ...string) {
	for _, text := range texts {
		p.write(websocket.TextMessage, text)
	}
}

// write does not fail the test: a client that has left is often what is tested.
func (p *peer) write(kind int, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.WriteMessage(kind, []byte(body))
}

// sync returns when the client has read all that was sent. The vendor's goroutine must be reading.
func (p *peer) sync() {
	p.mu.Lock()
	_ = p.WriteControl(websocket.PingMessage, []byte("sync"), time.Now().Add(wantTimeout))
	p.mu.Unlock()
	select {
	case <-p.pongs:
	case <-time.After(wantTimeout):
		p.t.Error("the client did not answer a ping")
	}
}

// reset ends TCP with RST.
func (p *peer) reset() {
	_ = p.NetConn().(*net.TCPConn).SetLinger(0)
	_ = p.NetConn().Close()
}

func (p *peer) closeWith(code int, text string) {
	body := websocket.FormatCloseMessage(code, text)
	_ = p.WriteControl(websocket.CloseMessage, body, time.Now().Add(wantTimeout))
}

// newSource makes a source for the event bridge at base.
func newSource(t testing.TB, base string, change ...func(*Config)) *Source {
	t.Helper()
	cfg := testConfig(base)
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func testConfig(base string) Config {
	var cfg Config
	cfg.SetDefaults()
	cfg.Account, cfg.Workspace, cfg.APIKey = testAccount, testWorkspace, "SK00000000000000000000000000000001"
	cfg.APISecret = config.NewSecret(testSecret)
	cfg.EventBridgeURL = base + "/v1/wschannels"
	return cfg
}

func (s *Source) testAgent() *source.Agent {
	a := s.cfg.Agent(testWorker)
	return &a
}

// start starts a session of the test's worker.
func (v *vendor) start(change ...func(*Config)) *sourcetest.Session {
	s := newSource(v.t, v.URL, change...)
	return sourcetest.Start(v.t, s, *s.testAgent())
}

// live starts a session and returns it with the vendor's end of its socket when the snapshot and what came with it are told.
func (v *vendor) live(change ...func(*Config)) (*sourcetest.Session, *peer) {
	x := v.start(change...)
	x.WaitLive()
	x.WaitBody(initFrame)
	return x, v.all()[0]
}

func event(n int) string { return fmt.Sprintf(`{"event_type":"task.updated","payload":{"n":%d}}`, n) }

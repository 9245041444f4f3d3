package generator

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/bench/wire"
)

// socket is one agent's.
type socket struct {
	agent uint32
	conn  net.Conn   // what is written to it are whole frames
	write sync.Mutex // held during a write
}

// quiet is for the errors of connections, which their clients report too.
var quiet = log.New(io.Discard, "", 0)

// upgrader's connections are read for their end, and written past it.
var upgrader = websocket.Upgrader{ReadBufferSize: 256, WriteBufferSize: 256, WriteBufferPool: &sync.Pool{}}

// vendor answers what a bridge asks the vendor: upgrades and posted commands on the same path. /ws?worker=WK… is a socket without a token, for clients that
// have none.
func (g *Generator) vendor() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/wschannels", func(w http.ResponseWriter, r *http.Request) {
		claims, err := readToken(r.URL.Query().Get("token"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		left := time.Until(time.Unix(claims.Get("exp").Int(), 0))
		g.upgrade(w, r, claims.Get("grants.task_router.worker_sid").Str, left)
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		g.upgrade(w, r, r.URL.Query().Get("worker"), time.Hour)
	})
	mux.HandleFunc("POST /v1/wschannels", command)
	return mux
}

// readToken returns a token's claims. Its signature is not looked at.
func readToken(token string) (gjson.Result, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return gjson.Result{}, errors.New("not a token")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return gjson.Result{}, fmt.Errorf("not a token: %w", err)
	}
	return gjson.ParseBytes(claims), nil
}

// upgrade holds a socket until it ends. left is what init says of the token's life.
func (g *Generator) upgrade(w http.ResponseWriter, r *http.Request, worker string, left time.Duration) {
	agent, err := wire.ParseWorker(worker)
	if err != nil {
		http.Error(w, "no such worker", http.StatusNotFound)
		return
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // answered
	}
	s := &socket{agent: agent, conn: ws.NetConn()}
	defer func() { _ = s.conn.Close() }() // nothing is owed any more
	init := fmt.Appendf(nil, `{"event_type":"init","payload":{"channel_id":%q,"account_sid":%q,"workspace_sid":%q,"token_lifetime":%d}}`,
		worker, wire.Account, wire.Workspace, left.Milliseconds())
	if ws.WriteMessage(websocket.TextMessage, init) != nil {
		return
	}
	s.beat()
	g.mu.Lock()
	g.sockets[agent] = s
	g.dials = append(g.dials, time.Now())
	g.mu.Unlock()
	for err == nil { // a client sends nothing but control frames, which are answered in here
		_, _, err = ws.NextReader()
	}
	g.mu.Lock()
	if g.sockets[agent] == s {
		delete(g.sockets, agent)
	}
	g.mu.Unlock()
}

// blank is a heartbeat: a text frame with a line feed.
var blank = []byte{0x81, 1, '\n'}

// beat sends a heartbeat, unless the socket is being written to: what is written is a sign of life too.
func (s *socket) beat() {
	if !s.write.TryLock() {
		return
	}
	defer s.write.Unlock()
	_, _ = s.conn.Write(blank) // its reader takes note of the end
}

func (s *socket) send(frames []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	_, err := s.conn.Write(frames)
	return err
}

// command answers the reads that a session begins with (protocol, sections 5 and 7).
func command(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, 64<<10)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const before = "Workspaces/" + wire.Workspace + "/Workers/"
	worker, list, _ := strings.Cut(strings.TrimPrefix(gjson.GetBytes(body.Bytes(), "url").Str, before), "/")
	agent, err := wire.ParseWorker(worker)
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"code":20404,"message":"The requested resource was not found","status":404}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if list != "" {
		_, _ = io.WriteString(w, `{"event_type":null,"payload":{"contents":[],"meta":{"list_key":"contents"},"after_sid":null,"before_sid":null}}`)
		return
	}
	_, _ = fmt.Fprintf(w, `{"event_type":null,"payload":{"account_sid":%q,"workspace_sid":%q,"sid":%q,"friendly_name":%q,"attributes":"{\"languages\":[\"en\"]}",`+
		`"available":true,"activity_sid":%q,"activity_name":"Available","date_created":1760000000,"date_updated":1767323050,"date_status_changed":1767323050,`+
		`"version":17}}`, wire.Account, wire.Workspace, worker, wire.Name(agent), wire.Activity)
}

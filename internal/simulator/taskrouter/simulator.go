// Package taskrouter simulates the vendor's side of the TaskRouter worker WebSocket, version 2: the event bridge with its sockets and
// command POSTs, the REST lists that a client starts from, a workspace that lives, and faults on demand. docs/simulator.md is the guide to
// its control interface. It keeps a ledger of every event that it told, which is the truth that a
// consumer's output is judged by, and it notes whatever clients do that an observer must not. It shares no code with the client side, so
// that an error of one cannot hide in the other.
//
// The wire is that of docs/protocols/twilio-taskrouter.md, sections 1 to 9, 11 and 14. Where the service's behaviour is not known, this package chooses: a token
// is refused with 401, 403 or 400 at the upgrade, a session ends at its token's exp with close code 1008, and events of one cause come
// in the order of section 9.
package taskrouter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
)

// Options of a simulator. The zero value is useful.
type Options struct {
	Listen          string        // host:port, default "127.0.0.1:0"
	Workers         int           // at start, default 10
	Rate            float64       // ledger entries per second over all workers; 0: nothing happens but by Do
	Seed            uint64        // decides the SIDs of workers, activities and channels, and the sequence of events
	Account         string        // AC SID; this and the next three have fixed defaults
	Workspace       string        // WS SID
	APIKey          string        // SK SID
	APISecret       string        // signs access tokens
	Heartbeat       time.Duration // default 15 s
	TokenLifetime   time.Duration // no session is longer, even if its token is; 0: no such limit
	EventDelay      time.Duration // from a command to its events on the sockets, so that its answer is first; default 20 ms
	PageSize        int           // largest page of a REST list, 1 to 1000, default 1000
	KeepAfterExpiry bool          // leave sockets open when their token expires
	Sockets         int           // of one worker at the same time, at most; further upgrades get 429; 0: any number
	Flex            bool          // the workspace is one of Flex: workers without a socket go offline
	OfflineAfter    time.Duration // in Flex, how long after a lost connection; default 30 s. After a clean close 1 s, if that is less
}

const (
	mostWorkers = 100_000 // some hundred MB; the largest workspaces that are known have a fifth
	mostRate    = 100_000 // per second, more than one core can do
)

// patterns are what SIDs look like: an option that does not would make a workspace that no client can name.
var patterns = map[string]*regexp.Regexp{
	"account": regexp.MustCompile(`^AC[0-9a-f]{32}$`), "workspace": regexp.MustCompile(`^WS[0-9a-f]{32}$`), "API key": regexp.MustCompile(`^SK[0-9a-f]{32}$`),
}

// Validate says what is not allowed. What is zero has its default.
func (o Options) Validate() error {
	o.setDefaults()
	for name, sid := range map[string]string{"account": o.Account, "workspace": o.Workspace, "API key": o.APIKey} {
		if !patterns[name].MatchString(sid) {
			return fmt.Errorf("simulator: %s must match %v", name, patterns[name])
		}
	}
	switch {
	case o.Workers < 1 || o.Workers > mostWorkers:
		return fmt.Errorf("simulator: workers must be 1 to %d", mostWorkers)
	case !(o.Rate >= 0 && o.Rate <= mostRate): // so that NaN is neither
		return fmt.Errorf("simulator: rate must be 0 to %d", mostRate)
	case o.PageSize < 1 || o.PageSize > maxPageSize:
		return fmt.Errorf("simulator: page size must be 1 to %d", maxPageSize)
	case o.Sockets < 0 || min(o.Heartbeat, o.TokenLifetime, o.EventDelay, o.OfflineAfter) < 0:
		return errors.New("simulator: sockets and durations must not be negative")
	}
	return nil
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&o.Listen, "127.0.0.1:0"},
		{&o.Account, "AC00000000000000000000000000000001"},
		{&o.Workspace, "WS00000000000000000000000000000001"},
		{&o.APIKey, "SK00000000000000000000000000000001"},
		{&o.APISecret, "simulated-secret-for-loopback-use"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.Workers == 0 {
		o.Workers = 10
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.EventDelay == 0 {
		o.EventDelay = 20 * time.Millisecond
	}
	if o.OfflineAfter == 0 {
		o.OfflineAfter = 30 * time.Second
	}
	if o.PageSize == 0 {
		o.PageSize = maxPageSize
	}
}

// Simulator is safe for concurrent use.
type Simulator struct {
	o        Options
	log      *zap.Logger
	listener net.Listener
	upgrader websocket.Upgrader
	ledger   ledger

	// mu makes "change the state, take the ledger's next number, queue to the worker's sockets" one step. Reads of the state take it too.
	// So an event is either in what a read returns or on the socket afterwards.
	mu              sync.Mutex
	world           *world
	stopped         bool // no workload any more
	closing         bool // no socket any more
	sockets         sync.WaitGroup
	dials           map[int64]int
	refused         map[int]int
	posts           map[postKey]int
	presenceChanges int
	evictions       int
	clientFrames    int
	requests        map[postKey]int // by REST
	limits          limits
	holdUntil       time.Time      // when the events of the command under way are due
	faults          []*faultRecord // all there ever were
	active          []*faultRecord // those that are looked up while they go on, and some that have just ended
}

// New listens, so that Ready can tell the URL, and fills the workspace. Clients are served, and the listener is closed, by Run.
func New(o Options, log *zap.Logger) (*Simulator, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("simulator: choose another address to listen on: %w", err)
	}
	s := &Simulator{
		o: o, log: log, listener: listener,
		upgrader: websocket.Upgrader{
			ReadBufferSize: 1024, WriteBufferPool: new(sync.Pool), CheckOrigin: func(*http.Request) bool { return true },
		},
		dials: map[int64]int{}, refused: map[int]int{}, posts: map[postKey]int{}, requests: map[postKey]int{},
		limits: limits{all: limit{perSecond: restPerSecond}, byExpression: limit{perSecond: expressionsPerSecond}},
	}
	s.world = newWorld(owner{o.Account, o.Workspace}, o.Seed, time.Now, s.tell)
	for range o.Workers {
		s.world.addWorker()
	}
	return s, nil
}

// tell is the world's emit; s.mu is held, but by New.
func (s *Simulator) tell(w *worker, e Entry, payload any) {
	e.Worker, e.At = w.sid, time.Now().UTC()
	f := frame{kind: websocket.TextMessage, seq: s.ledger.append(e), due: s.holdUntil}
	if len(w.sockets) == 0 {
		return
	}
	f.data = []byte(text(envelope{e.EventType, payload}))
	for _, f := range s.alter(w, f) {
		for _, k := range w.sockets {
			k.enqueue(f)
		}
	}
}

// Run serves, and drives the workload, until ctx ends. It then closes every socket with code 1001 and returns when all goroutines have
// ended. It may be called once.
func (s *Simulator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	if s.o.Rate > 0 {
		running.Go(func() { s.work(ctx) })
	}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: zap.NewStdLog(s.log)}
	failed := make(chan error, 1)
	running.Go(func() { failed <- server.Serve(s.listener) })
	s.log.Info("simulator serves", zap.String("address", s.listener.Addr().String()), zap.Int("workers", s.o.Workers), zap.Float64("rate", s.o.Rate))

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("simulator: serve: %w", err)
	}
	cancel()
	s.closeSockets()
	s.sockets.Wait()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer done()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // a request that outlives the grace is cut off
	}
	running.Wait()
	return err
}

func (s *Simulator) closeSockets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for _, k := range s.allSockets() {
		s.detach(k)
		k.stop(ending{code: websocket.CloseGoingAway, reason: "simulator stops"})
	}
	for _, w := range s.world.workers {
		w.stay()
	}
}

// allSockets requires s.mu.
func (s *Simulator) allSockets() []*socket {
	var all []*socket
	for _, w := range s.world.workers {
		all = append(all, w.sockets...)
	}
	return all
}

// StopWorkload ends the workload; sockets, heartbeats and reads go on. It returns when all that was told has been written to every
// socket that is neither muted nor lost.
func (s *Simulator) StopWorkload() {
	s.mu.Lock()
	s.stopped = true
	all := s.allSockets()
	s.mu.Unlock()
	for _, k := range all {
		k.flush()
	}
}

func (s *Simulator) knows(worker string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world.worker(worker) != nil
}

// Ledger returns a copy of all entries so far, in order.
func (s *Simulator) Ledger() []Entry { return s.ledger.all() }

// Ready is what a client needs to know.
type Ready struct {
	EventBridgeURL string   `json:"event_bridge_url"` // for sockets with ws:// instead of http://
	RESTURL        string   `json:"rest_url"`         // in place of https://taskrouter.twilio.com/v1
	ControlURL     string   `json:"control_url"`      // docs/simulator.md
	Account        string   `json:"account"`
	Workspace      string   `json:"workspace"`
	APIKey         string   `json:"api_key"`
	APISecret      string   `json:"api_secret"`
	Workers        []string `json:"workers"` // SIDs
}

// Ready may be called at once after New.
func (s *Simulator) Ready() Ready {
	s.mu.Lock()
	defer s.mu.Unlock()
	base := "http://" + s.listener.Addr().String()
	r := Ready{
		EventBridgeURL: base + socketPath, RESTURL: base + restPath, ControlURL: base + controlPath,
		Account: s.o.Account, Workspace: s.o.Workspace, APIKey: s.o.APIKey, APISecret: s.o.APISecret,
	}
	for _, w := range s.world.workers {
		r.Workers = append(r.Workers, w.sid)
	}
	return r
}

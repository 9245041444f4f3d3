// Package generator is the vendor's side of the bench: it speaks as much of Twilio TaskRouter's protocol v2 (docs/protocols/twilio-taskrouter.md) as
// a bridge needs to be live, and sends as fast as its sockets take it, or at an even rate.
//
// It bounds no measurement: a flood's frames are made once per agent, and of the next cycle only the digits that differ are written over them; a write
// has a cycle of 40 frames, some 50 KB. Every socket is one agent, who has ten open tasks; see package wire for what she tells. Between floods
// no reservation is open, so the snapshot that a session begins with is always true: none.
//
// Linux only.
package generator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Ready is what the program writes to standard output, as one line of JSON, once both listeners answer.
type Ready struct {
	// URL is what commands are posted to; the sockets have the same with ws or wss.
	URL string `json:"url"`
	// Control is the base of the control listener's URLs, for [Client].
	Control string `json:"control"`
}

// Generator serves the sockets.
type Generator struct {
	mu      sync.Mutex
	sockets map[uint32]*socket // by agent: the newest
	dials   []time.Time        // of all upgrades
	load    *load              // the last one, nil before the first
	next    uint64             // sequence that every agent's next load begins with
	ctx     context.Context    //nolint:containedctx // of Run: a load outlives the request that asks for it
	loads   sync.WaitGroup
}

// New makes a generator that nobody has dialled yet.
func New() *Generator { return &Generator{sockets: map[uint32]*socket{}} }

// Run serves until ctx ends. certificate makes the sockets wss; nil: ws. ready is called with where the listeners are: free ports of 127.0.0.1.
func (g *Generator) Run(ctx context.Context, certificate *tls.Certificate, ready func(Ready) error) error {
	vendor, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, vendor.Close())
	}
	where := Ready{URL: "http://" + vendor.Addr().String() + "/v1/wschannels", Control: "http://" + control.Addr().String()}
	if certificate != nil {
		// No HTTP/2: an upgrade needs HTTP/1.1.
		vendor = tls.NewListener(vendor, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"http/1.1"}})
		where.URL = "https" + where.URL[len("http"):]
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.ctx = ctx
	servers := []*http.Server{
		{Handler: g.vendor(), ReadHeaderTimeout: time.Minute, ErrorLog: quiet},
		{Handler: g.control(), ReadHeaderTimeout: time.Minute, ErrorLog: quiet},
	}
	ended := make(chan error, len(servers))
	for i, l := range []net.Listener{vendor, control} {
		go func() { ended <- servers[i].Serve(l) }()
	}
	var beats sync.WaitGroup
	beats.Go(func() { g.beat(ctx) })
	err = ready(where)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-ended:
			ended <- nil // for the wait below
		}
	}
	cancel()
	for _, s := range servers {
		err = errors.Join(err, s.Close())
	}
	g.drop()
	for range servers {
		if e := <-ended; e != nil && !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	beats.Wait()
	g.loads.Wait()
	return err
}

// Announce writes where the listeners are, for the process that has started this one.
func Announce(w io.Writer) func(Ready) error {
	return func(r Ready) error {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return fmt.Errorf("tell where the listeners are: %w", err)
		}
		return nil
	}
}

// heartbeat is how often a socket is sent one, and beats into how many parts the sockets are divided for that.
const (
	heartbeat = 15 * time.Second // protocol, section 4.4
	beats     = 100
)

// beat sends the heartbeats until ctx ends, spread over the period.
func (g *Generator) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeat / beats)
	defer tick.Stop()
	for part := uint32(0); ; part = (part + 1) % beats {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		g.mu.Lock()
		var due []*socket
		for agent, s := range g.sockets {
			if agent%beats == part {
				due = append(due, s)
			}
		}
		g.mu.Unlock()
		for _, s := range due {
			s.beat()
		}
	}
}

// agents are the sockets in the order of their agents' numbers. The error says that these are not 0, 1, 2 and so on.
func (g *Generator) agents() ([]*socket, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*socket, 0, len(g.sockets))
	for _, s := range g.sockets {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *socket) int { return int(a.agent) - int(b.agent) })
	for i, s := range all {
		if s.agent != uint32(i) {
			return nil, fmt.Errorf("agent %d has no socket", i)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("there is no socket")
	}
	return all, nil
}

// drop closes every socket at once and returns how many.
func (g *Generator) drop() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sockets {
		_ = s.conn.Close() // its reader takes note
	}
	return len(g.sockets)
}

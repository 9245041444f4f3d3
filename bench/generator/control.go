package generator

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Started is the answer to /go.
type Started struct {
	Began  int64  `json:"began_ns"` // ns since 1970
	First  uint64 `json:"first"`    // sequence of every agent's first event
	Each   uint64 `json:"each"`     // events per agent
	Agents int    `json:"agents"`
}

// Stat is the answer to /stat: the sockets now, and how the last load goes.
type Stat struct {
	Sockets int    `json:"sockets"`
	Sent    uint64 `json:"sent"`
	Behind  int64  `json:"behind_ns"` // furthest that a paced load was behind its schedule
	Ended   bool   `json:"ended"`
	Error   string `json:"error,omitempty"`
}

// Dials is the answer to /dials: the upgrades after a moment.
type Dials struct {
	Count int   `json:"count"`
	First int64 `json:"first_ns"` // ns since 1970; 0 without any
	Last  int64 `json:"last_ns"`
	Peak  int   `json:"peak"` // most within any second
}

// control answers
//
//	POST /go?n=N&rate=R    start a load of N events, R per second over all sockets; 0: a flood
//	GET /stat              how it goes
//	GET /stamps            when each event of a paced load was sent: ns since 1970, 8 bytes each, little-endian, agent after agent for each sequence
//	POST /drop             close every socket at once
//	GET /dials?since=NS    the upgrades after that moment
func (g *Generator) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /go", func(w http.ResponseWriter, r *http.Request) {
		n, errN := strconv.ParseUint(r.FormValue("n"), 10, 64)
		rate, errRate := strconv.ParseFloat(r.FormValue("rate"), 64)
		if errN != nil || errRate != nil {
			http.Error(w, "n and rate are numbers", http.StatusBadRequest)
			return
		}
		l, err := g.begin(n, rate)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		answer(w, Started{Began: l.began.UnixNano(), First: l.first, Each: l.each, Agents: len(l.sockets)})
	})
	mux.HandleFunc("GET /stat", func(w http.ResponseWriter, _ *http.Request) { answer(w, g.stat()) })
	mux.HandleFunc("GET /stamps", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		l := g.load
		g.mu.Unlock()
		if l == nil || !l.ended() {
			http.Error(w, "no load has ended", http.StatusConflict)
			return
		}
		_ = binary.Write(w, binary.LittleEndian, l.stamps) // the reader notes that bytes are missing
	})
	mux.HandleFunc("POST /drop", func(w http.ResponseWriter, _ *http.Request) { answer(w, g.drop()) })
	mux.HandleFunc("GET /dials", func(w http.ResponseWriter, r *http.Request) {
		since, err := strconv.ParseInt(r.FormValue("since"), 10, 64)
		if err != nil {
			http.Error(w, "since is a number", http.StatusBadRequest)
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		answer(w, dialsOf(g.dials, time.Unix(0, since)))
	})
	return mux
}

func (g *Generator) stat() Stat {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stat{Sockets: len(g.sockets)}
	if l := g.load; l != nil {
		s.Sent, s.Behind, s.Ended = l.sent.Load(), l.behind.Load(), l.ended()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err != nil {
			s.Error = l.err.Error()
		}
	}
	return s
}

// dialsOf sums up the moments after since. They come in from many goroutines, so nearly in order.
func dialsOf(all []time.Time, since time.Time) (d Dials) {
	var after []time.Time
	for _, at := range all {
		if at.After(since) {
			after = append(after, at)
		}
	}
	if len(after) == 0 {
		return d
	}
	slices.SortFunc(after, time.Time.Compare)
	d = Dials{Count: len(after), First: after[0].UnixNano(), Last: after[len(after)-1].UnixNano()}
	from := 0
	for i, at := range after {
		for at.Sub(after[from]) >= time.Second {
			from++
		}
		d.Peak = max(d.Peak, i-from+1)
	}
	return d
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the reader notes that bytes are missing
}

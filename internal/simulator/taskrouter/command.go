package taskrouter

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	maxCommand    = 1 << 20 // bytes
	startCommands = 4       // what the vendor's SDK begins with (section 5)
)

// command is a request in a POST's body. Its content type is not reliable (section 7.1).
type command struct {
	URL    string         `json:"url"`
	Method string         `json:"method"`
	Params map[string]any `json:"params"`
	Token  string         `json:"token"`
}

// postKey is what POSTs are counted by.
type postKey struct {
	route  string
	status int
}

// serveCommand answers what commands has (sections 5 and 7.4); any other command is 404.
func (s *Simulator) serveCommand(rw http.ResponseWriter, r *http.Request) {
	x, err := s.execute(rw, r)
	pause(r, x.delay)
	s.mu.Lock()
	if x.by != nil && len(x.by.answered) < startCommands {
		x.by.answered = append(x.by.answered, x.route+" "+r.Header.Get("apiVersion"))
	}
	s.mu.Unlock()
	status := http.StatusOK
	if err != nil {
		status = writeError(rw, err)
	} else {
		writeJSON(rw, status, struct {
			EventType *string `json:"event_type"`
			Payload   any     `json:"payload"`
		}{nil, x.payload})
	}
	s.mu.Lock()
	s.posts[postKey{x.route, status}]++
	s.mu.Unlock()
}

// pause keeps an answer back. The socket does not wait for it, so events can then be first: clients must accept either order (section 7.5).
func pause(r *http.Request, delay time.Duration) {
	if delay == 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// execution is what became of a command, beside its error.
type execution struct {
	route   string // as State counts it; "other" for what is not understood
	by      *worker
	payload any
	delay   time.Duration // of the answer
}

func (s *Simulator) execute(rw http.ResponseWriter, r *http.Request) (x execution, err error) {
	x.route = "other"
	var c command
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxCommand)).Decode(&c); err != nil {
		return x, badRequest("The request body is not a JSON command")
	}
	g, err := s.verify(c.Token)
	if err != nil {
		return x, err
	}
	path, ok := strings.CutPrefix(c.URL, "Workspaces/"+s.o.Workspace+"/")
	if !ok {
		return x, forbidden("The token grants no access to this URL")
	}
	resource, sids := parsePath(path)
	if sid, ok := sids["WK"]; ok && sid != g.worker && !g.supervisor {
		return x, forbidden("The token is for another worker")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	route := c.Method + " " + resource
	op, ok := commands[route]
	if !ok {
		return x, errNotFound
	}
	x.route, x.by = route, s.world.worker(g.worker)
	if x.delay, err = s.hinder(route, x.by); err != nil {
		return x, err
	}
	if op.version == "v2" && r.Header.Get("apiVersion") != "v2" {
		return x, badRequest("%s needs the header apiVersion: v2", route)
	}
	request := request{world: s.world, params: c.Params, ifMatch: r.Header.Get("If-Match")}
	if err := request.resolve(sids); err != nil {
		return x, err
	}
	s.holdUntil = time.Now().Add(s.o.EventDelay)
	defer func() { s.holdUntil = time.Time{} }()
	x.payload, err = op.run(&request)
	return x, err
}

var errNotFound = &statusError{status: http.StatusNotFound, message: "The requested resource was not found"}

func forbidden(message string) error {
	return &statusError{status: http.StatusForbidden, message: message}
}

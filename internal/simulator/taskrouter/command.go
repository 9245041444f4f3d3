package taskrouter

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const maxCommand = 1 << 20 // bytes

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
	route, payload, delay, err := s.execute(rw, r)
	pause(r, delay)
	status := http.StatusOK
	if err != nil {
		status = writeError(rw, err)
	} else {
		writeJSON(rw, status, struct {
			EventType *string `json:"event_type"`
			Payload   any     `json:"payload"`
		}{nil, payload})
	}
	s.mu.Lock()
	s.posts[postKey{route, status}]++
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

func (s *Simulator) execute(rw http.ResponseWriter, r *http.Request) (route string, payload any, delay time.Duration, err error) {
	const unknown = "other"
	var c command
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxCommand)).Decode(&c); err != nil {
		return unknown, nil, 0, badRequest("The request body is not a JSON command")
	}
	g, err := s.verify(c.Token)
	if err != nil {
		return unknown, nil, 0, err
	}
	path, ok := strings.CutPrefix(c.URL, "Workspaces/"+s.o.Workspace+"/")
	if !ok {
		return unknown, nil, 0, forbidden("The token grants no access to this URL")
	}
	resource, sids := parsePath(path)
	if sid, ok := sids["WK"]; ok && sid != g.worker && !g.supervisor {
		return unknown, nil, 0, forbidden("The token is for another worker")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	route = c.Method + " " + resource
	op, ok := commands[route]
	if !ok {
		return unknown, nil, 0, errNotFound
	}
	var failure error
	if delay, failure = s.hinder(route, s.world.worker(g.worker)); failure != nil {
		return route, nil, delay, failure
	}
	if op.version == "v2" && r.Header.Get("apiVersion") != "v2" {
		return route, nil, delay, badRequest("%s needs the header apiVersion: v2", route)
	}
	request := request{world: s.world, params: c.Params, ifMatch: r.Header.Get("If-Match")}
	if err := request.resolve(sids); err != nil {
		return route, nil, delay, err
	}
	s.holdUntil = time.Now().Add(s.o.EventDelay)
	defer func() { s.holdUntil = time.Time{} }()
	payload, err = op.run(&request)
	return route, payload, delay, err
}

var errNotFound = &statusError{status: http.StatusNotFound, message: "The requested resource was not found"}

func forbidden(message string) error {
	return &statusError{status: http.StatusForbidden, message: message}
}

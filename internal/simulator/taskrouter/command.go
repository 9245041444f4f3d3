package taskrouter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const (
	maxCommand      = 1 << 20 // bytes
	defaultPageSize = 50
	maxPageSize     = 1000
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

// serveCommand answers the four reads of a session start (sections 5 and 7.4); any other command is 404.
func (s *Simulator) serveCommand(rw http.ResponseWriter, r *http.Request) {
	route, payload, err := s.execute(rw, r)
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

func (s *Simulator) execute(rw http.ResponseWriter, r *http.Request) (route string, payload any, err error) {
	var c command
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxCommand)).Decode(&c); err != nil {
		return "other", nil, &statusError{http.StatusBadRequest, "The request body is not a JSON command"}
	}
	g, err := s.verify(c.Token)
	if err != nil {
		return "other", nil, err
	}
	workspace := "Workspaces/" + s.o.Workspace + "/"
	path, ok := strings.CutPrefix(c.URL, workspace)
	if !ok {
		return "other", nil, &statusError{http.StatusForbidden, "The token grants no access to this URL"}
	}
	sid, resource := g.worker, path
	if under, ok := strings.CutPrefix(path, "Workers/"); ok {
		sid, resource, _ = strings.Cut(under, "/")
		resource = strings.TrimSuffix("Workers/{WK}/"+resource, "/")
	}
	if sid != g.worker && !g.supervisor {
		return "other", nil, &statusError{http.StatusForbidden, "The token is for another worker"}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	x, w := s.world, s.world.worker(sid)
	if w == nil || c.Method != http.MethodGet {
		return "other", nil, errNotFound
	}
	route = c.Method + " " + resource
	switch resource {
	case "Workers/{WK}":
		return route, x.workerPayload(w), nil
	case "Activities":
		payload, err = page(x.activities[:], c.Params, func(a activityPayload) string { return a.SID })
	case "Workers/{WK}/WorkerChannels":
		var all []channelPayload
		for _, ch := range w.channels {
			all = append(all, x.channelPayload(ch))
		}
		payload, err = page(all, c.Params, func(p channelPayload) string { return p.SID })
	case "Workers/{WK}/Reservations":
		if r.Header.Get("apiVersion") != "v2" || fmt.Sprint(c.Params["Active"]) != "true" {
			return route, nil, &statusError{http.StatusBadRequest, "Only active reservations can be listed, with the header apiVersion: v2"}
		}
		var all []reservationPayload
		for _, res := range w.reservations {
			all = append(all, x.reservationPayload(res))
		}
		payload, err = page(all, c.Params, func(p reservationPayload) string { return p.SID })
	default:
		return "other", nil, errNotFound
	}
	return route, payload, err
}

var errNotFound = &statusError{http.StatusNotFound, "The requested resource was not found"}

// list is the form of section 7.2.
type list[T any] struct {
	Contents []T `json:"contents"`
	Meta     struct {
		ListKey string `json:"list_key"`
	} `json:"meta"`
	AfterSID  *string `json:"after_sid"` // null on the last page
	BeforeSID *string `json:"before_sid"`
}

// page cuts the page that params ask for out of all, which is in the order of SIDs. So a page goes on in the right place even if the
// object that AfterSid names has gone meanwhile.
func page[T any](all []T, params map[string]any, sid func(T) string) (list[T], error) {
	size := defaultPageSize
	if p, ok := params["PageSize"]; ok {
		n, err := strconv.Atoi(fmt.Sprint(p))
		if err != nil || n < 1 || n > maxPageSize {
			return list[T]{}, &statusError{http.StatusBadRequest, fmt.Sprintf("PageSize must be 1 to %d", maxPageSize)}
		}
		size = n
	}
	if after, ok := params["AfterSid"].(string); ok {
		for len(all) > 0 && sid(all[0]) <= after {
			all = all[1:]
		}
	}
	l := list[T]{Contents: all[:min(size, len(all))]}
	l.Meta.ListKey = "contents"
	if l.Contents == nil {
		l.Contents = []T{}
	}
	if len(all) > size {
		last := sid(l.Contents[size-1])
		l.AfterSID = &last
	}
	return l, nil
}

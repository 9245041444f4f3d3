package taskrouter

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const badCredentials = 20003 // the vendor's code

// restRequest is a request to the REST API (section 14).
type restRequest struct {
	request
	origin  string // of URLs in answers
	path    string
	largest int    // page
	version *int64 // becomes the ETag; a copy, because the answer is written without the lock
}

// laterPage is what the route of a list's pages after the first ends with, so that faults can tell them from it.
const laterPage = "?PageToken"

// serveREST counts every request that has a route; others are counted as "other".
func (s *Simulator) serveREST(rw http.ResponseWriter, r *http.Request) {
	q := &restRequest{origin: "http://" + r.Host, path: r.URL.Path, largest: s.o.PageSize}
	route, payload, delay, err := s.answer(rw, r, q)
	pause(r, delay)
	status := http.StatusOK
	if err != nil {
		status = writeError(rw, err)
	} else {
		if q.version != nil {
			rw.Header().Set("ETag", strconv.Quote(strconv.FormatInt(*q.version, 10)))
		}
		writeJSON(rw, status, payload)
	}
	s.mu.Lock()
	s.requests[postKey{route, status}]++
	s.mu.Unlock()
}

func (s *Simulator) answer(rw http.ResponseWriter, r *http.Request, q *restRequest) (route string, payload any, delay time.Duration, err error) {
	const unknown = "other"
	key, secret, _ := r.BasicAuth()
	if subtle.ConstantTimeCompare([]byte(key+":"+secret), []byte(s.o.APIKey+":"+s.o.APISecret)) != 1 {
		return unknown, nil, 0, &statusError{status: http.StatusUnauthorized, code: badCredentials, message: "Authenticate"}
	}
	path, ok := strings.CutPrefix(r.URL.Path, restPath+"/Workspaces/"+s.o.Workspace+"/")
	resource, sids := parsePath(path)
	route = r.Method + " " + resource
	op, known := restRoutes[route]
	if !ok || !known {
		return unknown, nil, 0, errNotFound
	}
	if err := r.ParseForm(); err != nil {
		return route, nil, 0, badRequest("The parameters are not a form")
	}
	if r.Form.Has("PageToken") {
		route += laterPage
	}
	q.ifMatch, q.params = r.Header.Get("If-Match"), map[string]any{}
	for name, values := range r.Form {
		if !slices.Contains(op.params, name) {
			return route, nil, 0, badRequest("Parameter %s is not simulated here; these are: %s", name, strings.Join(op.params, ", "))
		}
		q.params[name] = values[0]
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.limits.take(rw.Header(), q.has("TargetWorkersExpression"), time.Now()); err != nil {
		return route, nil, 0, err
	}
	var failure error
	if delay, failure = s.hinder("REST "+route, s.world.worker(sids["WK"])); failure != nil {
		return route, nil, delay, failure
	}
	q.world = s.world
	if err := q.resolve(sids); err != nil {
		return route, nil, delay, err
	}
	payload, err = op.run(q)
	return route, payload, delay, err
}

var paging = []string{"PageSize", "Page", "PageToken"}

// restRoutes are those of section 14. Parameters that are not simulated are refused, because to ignore a filter would be a lie.
var restRoutes = map[string]struct {
	params []string
	run    func(*restRequest) (any, error)
}{
	"GET Workers": {append(paging, "ActivityName", "ActivitySid", "Available", "FriendlyName", "TargetWorkersExpression"), func(q *restRequest) (any, error) {
		workers, err := q.filterWorkers()
		if err != nil {
			return nil, err
		}
		return restList(q, "workers", all(workers, q.workerResource), func(w workerResource) string { return w.SID })
	}},
	"GET Workers/{WK}": {nil, func(q *restRequest) (any, error) {
		q.version = new(q.worker.version)
		return q.workerResource(q.worker), nil
	}},
	"POST Workers/{WK}": {[]string{"ActivitySid", "Attributes", "RejectPendingReservations"}, func(q *restRequest) (any, error) {
		if err := q.updateWorker(); err != nil {
			return nil, err
		}
		q.version = new(q.worker.version)
		return q.workerResource(q.worker), nil
	}},
	"GET Activities": {append(paging, "FriendlyName", "Available"), func(q *restRequest) (any, error) {
		found := filter(&q.request, q.world.activities[:], map[string]func(activityPayload) string{
			"FriendlyName": func(a activityPayload) string { return a.FriendlyName },
			"Available":    func(a activityPayload) string { return strconv.FormatBool(a.Available) },
		})
		return restList(q, "activities", all(found, q.activityResource), func(a activityResource) string { return a.SID })
	}},
	"GET Workers/{WK}/Channels": {paging, func(q *restRequest) (any, error) {
		return restList(q, "channels", all(q.worker.channels, q.channelResource), func(c channelResource) string { return c.SID })
	}},
	"GET Workers/{WK}/Reservations": {append(paging, "ReservationStatus"), func(q *restRequest) (any, error) {
		return q.reservations(func(r *reservation) bool { return r.worker == q.worker })
	}},
	"GET Tasks/{WT}/Reservations": {append(paging, "ReservationStatus", "WorkerSid"), func(q *restRequest) (any, error) {
		return q.reservations(func(r *reservation) bool { return r.task == q.task })
	}},
	"GET Tasks": {append(paging, "AssignmentStatus", "Priority", "TaskQueueSid", "WorkflowSid"), func(q *restRequest) (any, error) {
		found := filter(&q.request, slices.Concat(q.world.ended, q.world.tasks), map[string]func(*task) string{
			"AssignmentStatus": func(t *task) string { return t.status },
			"Priority":         func(t *task) string { return strconv.Itoa(t.priority) },
			"TaskQueueSid":     func(t *task) string { return t.queue.sid },
			"WorkflowSid":      func(t *task) string { return t.workflow.sid },
		})
		slices.SortFunc(found, func(a, b *task) int { return strings.Compare(a.sid, b.sid) })
		return restList(q, "tasks", all(found, q.taskResource), func(t taskResource) string { return t.SID })
	}},
	"GET Tasks/{WT}": {nil, func(q *restRequest) (any, error) {
		q.version = new(q.task.version)
		return q.taskResource(q.task), nil
	}},
}

func (q *restRequest) reservations(of func(*reservation) bool) (any, error) {
	found := filter(&q.request, q.world.everyReservation(), map[string]func(*reservation) string{
		"ReservationStatus": func(r *reservation) string { return r.status },
		"WorkerSid":         func(r *reservation) string { return r.worker.sid },
	})
	found = slices.DeleteFunc(found, func(r *reservation) bool { return !of(r) })
	return restList(q, "reservations", all(found, q.reservationResource), func(r reservationResource) string { return r.SID })
}

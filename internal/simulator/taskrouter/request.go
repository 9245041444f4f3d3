package taskrouter

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// request is a command or a REST request on what its path names.
type request struct {
	world       *world
	params      map[string]any
	ifMatch     string
	worker      *worker // these four are not nil where the path has them
	task        *task
	reservation *reservation
	transfer    *transfer
}

// parsePath takes the SIDs out of a path below the workspace: "Workers/WK1/Reservations" is the resource "Workers/{WK}/Reservations".
func parsePath(path string) (resource string, sids map[string]string) {
	sids = map[string]string{}
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, segment := range segments {
		for _, prefix := range []string{"WK", "WT", "WR", "TT"} {
			if i > 0 && strings.HasPrefix(segment, prefix) {
				sids[prefix] = segment
				segments[i] = "{" + prefix + "}"
			}
		}
	}
	return strings.Join(segments, "/"), sids
}

// resolve finds what sids name, or fails with 404, also when a reservation is not the named worker's or task's.
func (q *request) resolve(sids map[string]string) error {
	for prefix, sid := range sids {
		found := false
		switch prefix {
		case "WK":
			q.worker = q.world.worker(sid)
			found = q.worker != nil
		case "WT":
			q.task = q.world.task(sid)
			found = q.task != nil
		case "WR":
			q.reservation = q.world.reservation(sid)
			found = q.reservation != nil
		case "TT":
			q.transfer = q.world.transfer(sid)
			found = q.transfer != nil
		}
		if !found {
			return errNotFound
		}
	}
	r := q.reservation
	if r != nil && (q.worker != nil && r.worker != q.worker || q.task != nil && r.task != q.task) {
		return errNotFound
	}
	return nil
}

// text is a parameter as text; "" if it is absent.
func (q *request) text(name string) string {
	v, ok := q.params[name]
	if !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (q *request) has(name string) bool {
	_, ok := q.params[name]
	return ok
}

// attributes are an object in a command, and JSON text in REST.
func (q *request) attributes() (string, error) {
	a, ok := q.params["Attributes"].(string)
	if !ok {
		a = text(q.params["Attributes"])
	}
	return a, checkAttributes(a)
}

// matchVersion is If-Match: 412 unless it is absent or names the object's version, bare as in commands or quoted as an ETag.
func (q *request) matchVersion(version int64) error {
	if q.ifMatch == "" || strings.Trim(q.ifMatch, `"`) == strconv.FormatInt(version, 10) {
		return nil
	}
	return &statusError{status: http.StatusPreconditionFailed, message: "If-Match does not name the present version"}
}

// updateWorker is the one change that commands and REST share.
func (q *request) updateWorker() error {
	w, activity := q.worker, q.worker.activity
	if err := q.matchVersion(w.version); err != nil {
		return err
	}
	var attributes string
	var err error
	if q.has("Attributes") {
		if attributes, err = q.attributes(); err != nil {
			return err
		}
	}
	if q.has("ActivitySid") {
		if activity, err = q.world.activityNamed(q.text("ActivitySid")); err != nil {
			return err
		}
	}
	if q.has("Attributes") {
		q.world.setAttributes(w, attributes)
	}
	if q.has("ActivitySid") {
		q.world.moveWorker(w, activity, q.text("RejectPendingReservations") == "true")
	}
	return nil
}

const (
	defaultPageSize = 50
	maxPageSize     = 1000
)

func (q *request) pageSize() (int, error) {
	if !q.has("PageSize") {
		return defaultPageSize, nil
	}
	n, err := strconv.Atoi(q.text("PageSize"))
	if err != nil || n < 1 || n > maxPageSize {
		return 0, badRequest("PageSize must be 1 to %d", maxPageSize)
	}
	return n, nil
}

// cut is one page of all, which is in the order of SIDs: what comes after the given SID. So a page goes on in the right place even if the
// object of that SID has gone meanwhile.
func cut[T any](all []T, sid func(T) string, after string, size int) (page []T, more bool) {
	for len(all) > 0 && sid(all[0]) <= after {
		all = all[1:]
	}
	return append([]T{}, all[:min(size, len(all))]...), len(all) > size
}

package jetstream

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
)

const (
	deniedRetry = 5 * time.Second // of events that the user may not publish
	// shownFor is how long after the last permission violation Ready still tells of it: until the events concerned were tried once more,
	// so that it does not come and go while others are taken.
	shownFor = 2 * deniedRetry
)

// violation is what the server said to something that the user may not do. It is over when an event is taken on the subject, when the
// connection is lost, and after shownFor.
type violation struct {
	err     error
	at      time.Time
	subject string // of the publish; empty: it was none
}

// Ready says why events are not delivered at present; nil when they are. Safe for concurrent use.
func (s *Sink) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denied.err != nil && time.Since(s.denied.at) < shownFor {
		return errors.Join(s.denied.err, s.fault, s.refused)
	}
	return errors.Join(s.fault, s.refused, s.reading.Ready())
}

// refuse takes note that the server took no event, though the stream is as it should be: it is full, the account's limits are reached, no
// answer comes. The next event that is taken ends it, and they are tried until then. Under the mutex.
func (s *Sink) refuse(err error) {
	s.refused = err
	s.complain("NATS does not take events, they wait", err)
}

// complain is called under the mutex.
func (s *Sink) complain(message string, err error) {
	s.complaints.Tell(s.log, message, err, zap.String("stream", s.cfg.Stream))
}

// deniedSubject finds the subject in "Permissions Violation for Publish to "a.b"" (nats-server, client.go): it is told nowhere else.
var deniedSubject = regexp.MustCompile(`Publish to "([^"]+)"`)

// asyncError hears what the server says about no request in particular. It tells of a publish that the user may not make in this way alone,
// and never answers it: without this every such event would wait for its time-out, and nobody would know why.
func (s *Sink) asyncError(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		s.log.Warn("NATS reports an error", zap.Error(err))
		return
	}
	s.metrics.permission.Inc()
	fault := retry.Reason(fmt.Errorf("grant the bridge's NATS user what the server refused: %w", err), "permission")
	subject := ""
	if m := deniedSubject.FindStringSubmatch(err.Error()); m != nil {
		subject = m[1]
	}
	s.mu.Lock()
	s.denied = violation{fault, time.Now(), subject}
	s.complain("NATS refuses for lack of permission", fault)
	s.mu.Unlock()
	s.finishAll(func(f flight) bool { return s.subject(&f.batch.Records[0]) == subject }, retry.After(fault, deniedRetry))
}

// taken ends what is told of refusals, since the server has taken the event of flight seq. Under the mutex.
func (s *Sink) taken(seq uint64) {
	s.refused = nil
	if f, ok := s.flights[seq]; ok && s.denied.err != nil && s.subject(&f.batch.Records[0]) == s.denied.subject {
		s.denied = violation{}
	}
}

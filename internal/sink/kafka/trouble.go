package kafka

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// passing is how long a partition may be without a leader, or its batch unanswered, before Ready tells of it: an election is no news.
const passing = 2 * time.Second

// trouble is what stands in the way of a partition's batch.
type trouble struct {
	err   error
	since time.Time
	loud  bool // only an operator can settle it
}

// Ready says why events are not delivered at present; nil when they are. One partition that does not take its events is enough. Safe for concurrent use.
func (s *Sink) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	if err := s.reading.Ready(); err != nil {
		return err
	}
	var first trouble
	for _, t := range s.troubles {
		if (t.loud || time.Since(t.since) > passing) && (first.err == nil || t.since.Before(first.since)) {
			first = t
		}
	}
	return first.err
}

// trouble takes note of why a partition's batch was not stored.
func (s *Sink) trouble(p *partition, c class, err error) {
	if !c.troubles() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, there := s.troubles[p]
	if !there {
		t.since = time.Now()
	}
	t.err, t.loud = err, c.advice != ""
	s.troubles[p] = t
	if t.loud || time.Since(t.since) > passing {
		s.complain("Kafka does not take events, they wait", err)
	}
}

// overcome takes note that a partition's batch was stored.
func (s *Sink) overcome(p *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.troubles, p)
}

// setFault says why nothing can be sent; nil: nothing stands in the way.
func (s *Sink) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
	if err != nil {
		s.complain("Kafka cannot be written to, events wait", err)
	}
}

// complain is called under the mutex.
func (s *Sink) complain(message string, err error) {
	s.complaints.Tell(s.log, message, err, zap.Strings("brokers", s.cfg.Brokers))
}

// lose takes note that a topic was re-created or cut; it is reported once, and the topics are looked at.
func (s *Sink) lose(topic string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.seen[topic]; !known {
		return // reported before
	}
	delete(s.seen, topic)
	s.lost = errors.Join(s.lost, err)
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// Package jetstream is the sink for NATS JetStream.
//
// Every event is one message, confirmed by the stream before it counts as delivered. Its Nats-Msg-Id is the event's id, so the server drops repeats
// within the stream's duplicate window; what is older than that is answered with sink.ErrUnsure, and Landed reads the ids of what the
// stream holds. One connection per sink keeps the order of its lanes.
//
// Events are published with a reply subject <inbox>.<n> below one subscription, which costs the client about half as much as the client
// library's PublishAsync.
//
// Delivered means: the stream's leader, and with replicas a majority of them, took the event. It does not mean fsynced: a server
// syncs every two minutes unless told otherwise (jetstream {sync_interval: always}); replicas: 3 protects from losing one of them.
//
// The sink's user needs these permissions: publish to the events' subjects and to $JS.API.STREAM.INFO.<stream>, .STREAM.CREATE.<stream>,
// .CONSUMER.CREATE.<stream>.>, .CONSUMER.DELETE.<stream>.>, .CONSUMER.MSG.NEXT.<stream>.>; subscribe to <inbox_prefix>.>.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Sink publishes to one stream. Make it with [New], then [Sink.Connect] it once, and [Sink.Close] it at the end.
type Sink struct {
	cfg        Config
	wildcard   string
	options    nats.Options
	ackTimeout time.Duration
	lookEvery  time.Duration
	log        *zap.Logger
	metrics    *Metrics
	route      *sink.Route
	render     *renderer     // for the goroutine that calls Send
	recheck    chan struct{} // verify the stream again
	reading    sink.Reading

	mu         sync.Mutex
	fault      error                   // why nothing can be sent; nil: connected and the stream is verified
	abandon    context.CancelCauseFunc // of the verification under way, else of one that has ended
	refused    error                   // why the server took no event when last it answered
	denied     violation               // the last one
	complaints sink.Complaints
	conn       *nats.Conn
	inbox      string // where the connection's answers come in
	created    int64  // of the stream, ns since 1970: a re-created stream has another
	window     time.Duration
	lost       error  // wraps sink.ErrBrokerLost until that was reported
	newest     uint64 // highest stream sequence known
	resume     []byte // from where to ask after a loss; nil since something was sent
	places     []byte // what Place of batches is cut from
	seq        uint64 // of the last publish
	flights    map[uint64]flight
	closed     bool
	idle       chan struct{} // closed when closed and no flight is left
	cancel     context.CancelFunc
	stopped    chan struct{} // closed when the connection's goroutine has ended
}

// flight is a batch that was published and not answered.
type flight struct {
	batch *sink.Batch
	sent  time.Time
}

var _ sink.Sink = (*Sink)(nil)

const (
	lanes    = 16384
	inFlight = 4096
	maxBatch = 1 << 20 // bytes; the server's default max_payload
	// maxSubject bounds a subject: together with the reply it must stay below the server's max_control_line, 4096 bytes by default, because
	// a longer one makes the server end the connection.
	maxSubject = 2048
)

var (
	errNotConnected = retry.Reason(errors.New("not connected to the NATS server"), "disconnected")
	errDisconnected = retry.Reason(errors.New("connection to the NATS server lost before the answer came"), "disconnected")
	errTimeout      = retry.Reason(errors.New("no answer from the NATS server within ack_timeout"), "timeout")
	errBadAnswer    = retry.Reason(errors.New("publish: the server's answer makes no sense"), "bad_answer")
	errClosed       = errors.New("the sink is closed")
)

// New checks cfg and reads its files; it does not connect. Where cfg asks for an embedded server, the caller has started it and put its
// address into URL in place of Embedded.
func New(cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	route, err := sink.ParseRoute(cfg.Subject)
	if err != nil {
		return nil, fmt.Errorf("nats: subject: %w", err)
	}
	s := &Sink{
		cfg: cfg, wildcard: route.Wildcard(), ackTimeout: time.Duration(cfg.AckTimeout), lookEvery: lookEvery, log: log,
		route: route, render: newRenderer(route, cfg.Mode, cfg.Stream), recheck: make(chan struct{}, 1),
		fault: errNotConnected, abandon: func(error) {}, flights: map[uint64]flight{}, idle: make(chan struct{}), stopped: make(chan struct{}),
	}
	if s.options, err = cfg.options(s.secretUnreadable); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	s.setHandlers()
	s.metrics = newMetrics(reg, s.Ready)
	return s, nil
}

// Limits implements sink.Sink.
func (s *Sink) Limits() sink.Limits {
	return sink.Limits{Lanes: lanes, InFlight: inFlight, Records: 1, Bytes: maxBatch}
}

// Open implements sink.Sink: the lanes do not depend on the server.
func (*Sink) Open(context.Context) error { return nil }

// Lane implements sink.Sink.
func (s *Sink) Lane(r *spool.Record) int { return int(r.Key % lanes) }

// Send implements sink.Sink. FirstSent and Place are stamped when the batch is given to a connection, so a batch that was only refused here
// has neither.
func (s *Sink) Send(b *sink.Batch) {
	now := time.Now()
	r := &b.Records[0]
	s.mu.Lock()
	s.resume = nil
	var err error
	switch {
	case s.closed:
		err = errClosed
	case s.fault != nil:
		err = s.fault
	case s.lost != nil:
		err, s.lost = s.lost, nil
	case !b.FirstSent.IsZero() && b.Age() > s.window/10*8:
		// The window begins when the server stored the first copy, at the earliest when it was sent. The rest of the window is for the way.
		err = sink.ErrUnsure
	}
	if err != nil {
		s.mu.Unlock()
		b.Done(err)
		return
	}
	if b.FirstSent.IsZero() {
		if cap(s.places)-len(s.places) < placeSize {
			s.places = make([]byte, 0, 64*placeSize) // many at once: they are kept as long as their batches
		}
		s.places = appendPlace(s.places, s.created, s.newest)
		n := len(s.places)
		b.FirstSent, b.Place = now, s.places[n-placeSize:n:n]
	}
	s.seq++
	seq, conn, inbox := s.seq, s.conn, s.inbox
	s.flights[seq] = flight{b, now}
	s.mu.Unlock()

	msg := s.render.render(r, inbox, seq)
	if len(msg.Subject) > maxSubject {
		err = &sink.Rejected{Pos: []spool.Pos{r.Pos}, Err: fmt.Errorf("the subject has %d bytes, at most %d are possible", len(msg.Subject), maxSubject)}
	} else if err = conn.PublishMsg(msg); err != nil {
		err = refusedLocally(err, r)
	}
	if err != nil {
		s.finish(seq, func(*sink.Batch) error { return err })
	}
}

// finish ends the flight seq with the error that why gives, once; a flight that has ended already is left alone.
func (s *Sink) finish(seq uint64, why func(*sink.Batch) error) {
	s.mu.Lock()
	f, ok := s.land(seq)
	s.mu.Unlock()
	if ok {
		s.done(f.batch, why(f.batch))
	}
}

// land ends the flight seq, and says whether there was one. It is called with the mutex held.
func (s *Sink) land(seq uint64) (flight, bool) {
	f, ok := s.flights[seq]
	if ok {
		s.remove(seq)
	}
	return f, ok
}

// finishAll ends the flights that match, which is asked under the mutex. Done is called without the mutex, because it may lead to anything of the publisher's.
func (s *Sink) finishAll(match func(flight) bool, err error) int {
	s.mu.Lock()
	var found []*sink.Batch
	for seq, f := range s.flights {
		if match(f) {
			found = append(found, f.batch)
			s.remove(seq)
		}
	}
	s.mu.Unlock()
	for _, b := range found {
		s.done(b, err)
	}
	return len(found)
}

// remove is called with the mutex held.
func (s *Sink) remove(seq uint64) {
	delete(s.flights, seq)
	if s.closed && len(s.flights) == 0 {
		close(s.idle)
	}
}

func (s *Sink) done(b *sink.Batch, err error) {
	if err != nil {
		s.metrics.errors.WithLabelValues(retry.ReasonOf(err)).Inc()
	}
	b.Done(err)
}

// answered handles what comes in below the connection's inbox, on the subscription's goroutine.
func (s *Sink) answered(msg *nats.Msg) {
	seq, err := strconv.ParseUint(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:], 10, 64)
	if err != nil {
		return // not ours
	}
	if len(msg.Data) == 0 && msg.Header.Get(headerStatus) == "503" {
		s.verifyAgain(retry.Reasonf(noResponders.reason, "no stream answers on %s; looking up stream %s again", s.wildcard, s.cfg.Stream))
		s.finish(seq, func(*sink.Batch) error {
			return retry.Reasonf(noResponders.reason, "publish: no stream took the event (NATS status 503)")
		})
		return
	}
	a, ok := parseAnswer(msg.Data)
	switch {
	case !ok:
		s.mu.Lock()
		s.refuse(errBadAnswer)
		s.mu.Unlock()
		s.finish(seq, func(*sink.Batch) error { return errBadAnswer })
	case a.code != 0:
		s.finish(seq, func(b *sink.Batch) error {
			c, err := answered(&a, &b.Records[0])
			if c.check {
				s.verifyAgain(err)
			}
			if c.refuses() {
				s.mu.Lock()
				s.refuse(err)
				s.mu.Unlock()
			}
			return err
		})
	default:
		// Also of a late answer to a batch that was given up: what the stream holds is known all the same.
		s.mu.Lock()
		s.newest = max(s.newest, a.seq)
		s.taken(seq)
		f, ok := s.land(seq)
		s.mu.Unlock()
		if a.duplicate {
			s.metrics.duplicates.Inc()
		}
		if ok {
			s.done(f.batch, nil)
		}
	}
}

// Close implements sink.Sink.
func (s *Sink) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if len(s.flights) == 0 {
			close(s.idle)
		}
	}
	cancel := s.cancel
	s.mu.Unlock()

	var err error
	select {
	case <-s.idle:
	case <-ctx.Done():
		if n := s.finishAll(func(flight) bool { return true }, errClosed); n > 0 {
			err = fmt.Errorf("%d events were not confirmed: %w", n, ctx.Err())
		}
	}
	if cancel == nil {
		return err // never connected
	}
	cancel()
	select {
	case <-s.stopped:
	case <-ctx.Done(): // a dial may take a moment longer to end
	}
	return err
}

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

const (
	requestTimeout = 5 * time.Second // of one request of the JetStream API
	mismatchRetry  = 30 * time.Second
	lookEvery      = time.Minute // on average: an operator may edit the stream at any time
	oldest         = "2.10.23"   // the oldest server version that is supported
)

// setHandlers completes the options. The handlers of one connection run one after another on a goroutine of the client library.
func (s *Sink) setHandlers() {
	o := &s.options
	o.AllowReconnect, o.MaxReconnect, o.RetryOnFailedConnect = true, -1, true
	o.ReconnectBufSize = -1       // what is published while disconnected would overtake what was lost: refuse it
	o.IgnoreAuthErrorAbort = true // else two refusals end the connection for good, also when the account is mended
	o.PingInterval, o.MaxPingsOut, o.FlusherTimeout = 20*time.Second, 2, 10*time.Second
	o.CustomReconnectDelayCB = func(attempts int) time.Duration {
		b := retry.Backoff{Base: 100 * time.Millisecond, Cap: 5 * time.Second}
		var d time.Duration
		for range min(attempts, 10) {
			d = b.Next(-1, retry.Jitter)
		}
		return d
	}
	o.ConnectedCB = s.connected
	o.ReconnectedCB = s.connected
	o.ReconnectErrCB = func(_ *nats.Conn, err error) { s.cannotConnect(err) }
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) { s.disconnected(err) }
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { s.asyncError(err) }
}

// Connect starts connecting and returns; the connection is kept up until Close, whatever becomes of ctx, which only gives its values. Call it once.
func (s *Sink) Connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	go func() {
		defer close(s.stopped)
		s.keep(ctx)
	}()
}

// keep replaces a connection that ended for good: the client library reconnects by itself, but some errors make it give up.
func (s *Sink) keep(ctx context.Context) {
	backoff := retry.Backoff{Base: 100 * time.Millisecond, Cap: 5 * time.Second, Healthy: time.Minute}
	for ctx.Err() == nil {
		start := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.cannotConnect(err)
		s.log.Warn("NATS connection ended, a new one follows", zap.Error(err))
		select {
		case <-time.After(backoff.Next(time.Since(start), retry.Jitter)):
		case <-ctx.Done():
		}
	}
}

// session is the life of one client connection, with all its reconnects: it verifies the stream whenever that is due and ends flights that wait
// for too long.
func (s *Sink) session(ctx context.Context) error {
	options := s.options
	ended := make(chan struct{})
	options.ClosedCB = func(*nats.Conn) { close(ended) }
	conn, err := options.Connect()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		conn.Close()
		<-ended
		s.disconnected(nil)
	}()
	inbox := conn.NewInbox()
	if _, err := conn.Subscribe(inbox+".*", s.answered); err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	s.mu.Lock()
	s.conn, s.inbox = conn, inbox
	s.mu.Unlock()

	// One sweep for all flights; a time-out is at most a quarter late.
	sweep := time.NewTicker(s.ackTimeout / 4)
	defer sweep.Stop()
	again := time.NewTimer(s.lookEvery) // until the next look at the stream
	defer again.Stop()
	backoff := retry.Backoff{Base: 250 * time.Millisecond, Cap: 5 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return conn.LastError()
		case <-sweep.C:
			s.sweep(time.Now())
			continue
		case <-s.recheck:
		case <-again.C:
		}
		if !conn.IsConnected() {
			continue // connected will tell
		}
		wait := s.lookEvery/2 + time.Duration(retry.Jitter()*float64(s.lookEvery))
		switch err := s.verifyStream(ctx, js); {
		case err == nil:
			backoff = retry.Backoff{Base: 250 * time.Millisecond, Cap: 5 * time.Second}
		case retry.IsPermanent(err):
			wait = mismatchRetry
		default:
			wait = backoff.Next(-1, retry.Jitter)
		}
		again.Reset(wait)
	}
}

// verifyStream makes the sink ready, or says in Ready why it is not. A look that only failed does not stop a sink that is ready: what
// becomes of the events says more.
func (s *Sink) verifyStream(ctx context.Context, js jetstream.JetStream) error {
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	s.mu.Lock()
	s.abandon = abandon
	confirmed := s.newest // before the request: answers that come meanwhile may be newer than what it tells
	s.mu.Unlock()
	request, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := ensureStream(request, js, &s.cfg, s.wildcard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(context.Cause(ctx), errNotConnected) {
		return nil // the connection was lost meanwhile: what was found is out of date, and connected leads here again
	}
	if err != nil && s.fault == nil && !retry.IsPermanent(err) {
		s.complain("NATS stream cannot be looked at, events are sent on", err)
		return err
	}
	if err != nil {
		if s.fault == nil || s.fault.Error() != err.Error() {
			s.log.Error("NATS stream is not usable, events wait", zap.String("stream", s.cfg.Stream), zap.Error(err))
		}
		s.fault = err
		return err
	}
	created := info.Created.UnixNano()
	switch {
	case s.created == created && info.State.LastSeq < confirmed:
		s.lost = fmt.Errorf("stream %s ends at %d, before %d that it had confirmed: %w", s.cfg.Stream, info.State.LastSeq, confirmed, sink.ErrBrokerLost)
	case s.created != created && s.created != 0:
		s.lost = fmt.Errorf("stream %s was re-created at %v: %w", s.cfg.Stream, info.Created, sink.ErrBrokerLost)
	}
	if s.created != created || info.State.LastSeq < confirmed {
		s.newest = 0 // the sequences begin anew
	}
	s.created, s.newest, s.window = created, max(s.newest, info.State.LastSeq), info.Config.Duplicates
	if s.fault != nil {
		s.log.Info("NATS stream is ready", zap.String("stream", s.cfg.Stream), zap.Strings("subjects", info.Config.Subjects),
			zap.Int("replicas", info.Config.Replicas), zap.Duration("duplicate_window", info.Config.Duplicates))
	}
	s.fault = nil
	return nil
}

// verifyAgain stops sending until the stream was looked at. It is a no-op while that is under way.
func (s *Sink) verifyAgain(why error) {
	s.mu.Lock()
	begin := s.fault == nil
	if begin {
		s.fault = why
	}
	s.mu.Unlock()
	if begin {
		s.wake()
	}
}

func (s *Sink) wake() {
	select {
	case s.recheck <- struct{}{}:
	default:
	}
}

func (s *Sink) connected(conn *nats.Conn) {
	s.metrics.connected.Set(1)
	s.log.Info("NATS connected", zap.String("server", conn.ConnectedUrlRedacted()), zap.String("version", conn.ConnectedServerVersion()))
	s.checkVersion(conn.ConnectedServerVersion())
	s.wake()
}

// disconnected gives every batch back. A batch that was sent in the moment between the reconnect and this call comes back too, although
// its answer may follow: it is sent again, and the server recognises it.
func (s *Sink) disconnected(err error) {
	s.mu.Lock()
	was, closed := s.fault, s.closed
	s.fault, s.refused, s.denied = errNotConnected, nil, violation{}
	s.abandon(errNotConnected)
	s.mu.Unlock()
	s.metrics.connected.Set(0)
	n := s.finishAll(func(flight) bool { return true }, errDisconnected)
	if !closed && (err != nil || was == nil) { // not when this ends a session that was disconnected before
		s.metrics.disconnects.Inc()
		s.log.Warn("NATS connection lost, will reconnect", zap.Int("unanswered", n), zap.Error(err))
	}
}

func (s *Sink) cannotConnect(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fault := retry.Reason(fmt.Errorf("%w: %w", errNotConnected, err), "disconnected")
	if s.fault == nil || s.fault.Error() != fault.Error() {
		s.log.Warn("cannot connect to NATS, will try again", zap.Error(err))
	}
	s.fault = fault
}

func (s *Sink) secretUnreadable(err error) {
	s.log.Error("NATS credentials cannot be read, the server will refuse the connection", zap.Error(err))
}

func (s *Sink) subject(r *spool.Record) string { return string(s.route.Append(nil, r)) }

// sweep ends the flights that were sent more than ackTimeout before now.
func (s *Sink) sweep(now time.Time) {
	s.finishAll(func(f flight) bool {
		late := now.Sub(f.sent) > s.ackTimeout
		if late {
			s.refuse(errTimeout)
		}
		return late
	}, errTimeout)
}

func (s *Sink) checkVersion(version string) {
	if !older(version, oldest) {
		s.metrics.outdated.Set(0)
		return
	}
	s.metrics.outdated.Set(1)
	s.log.Warn("NATS server is older than the oldest supported version: update it", zap.String("version", version), zap.String("oldest", oldest))
}

var versionNumbers = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)`)

// older compares versions by their numbers; what is no version is not older.
func older(version, than string) bool {
	numbers := func(v string) (n []int) {
		for _, part := range versionNumbers.FindStringSubmatch(v) {
			i, _ := strconv.Atoi(part) // the whole match is no number and counts 0 in both
			n = append(n, i)
		}
		return n
	}
	v := numbers(version)
	return v != nil && slices.Compare(v, numbers(than)) < 0
}

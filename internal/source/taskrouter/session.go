package taskrouter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/source"
)

// session is one socket of one agent. The goroutine of Serve reads; a second one opens the socket and fetches the snapshot, and ends
// when that is told.
type session struct {
	src     *Source
	agent   *source.Agent
	in      source.Intake
	token   token // its text only until live: it is not small
	conn    *websocket.Conn
	unwatch func() bool   // ends the watch over Serve's context; nil until there is a socket
	since   time.Time     // receipt of init
	left    time.Duration // the token's life at since
	expires time.Time     // its end, as well as it is known
	opening sync.WaitGroup

	mu    sync.Mutex
	held  []message // what came before live, in order
	size  int       // of held, in bytes
	live  bool      // the snapshot and all of held are told
	ended *failure  // the first cause
	abort func()    // ends the catching up; nil while there is none
}

// message is one frame as read; a nil body is a heartbeat.
type message struct {
	body []byte
	at   time.Time
}

// overhead is what a held message costs beside its body, in bytes.
const overhead = 64

// serve holds one session. What it starts has ended when it returns.
//
// Every session's goroutine waits below this function for as long as the session lives, and its stack can only shrink back to 4 KiB, after a frame made it
// grow, while less than 1248 bytes of it are in use (runtime/stack.go, shrinkstack; 1208 are, by the sizes of the frames). So from the caller of Serve to
// the socket no frame has more than it needs while it waits: what comes before and after, and the handling of a message, are functions of their own.
func (s *session) serve(ctx context.Context) *failure {
	f := s.start(ctx)
	for f == nil {
		f = s.receive(s.conn.NextReader())
	}
	f = s.end(f)
	s.finish()
	return f
}

// start opens the socket. Handshakes, HTTP and JSON need a deep stack, so they have one of their own, which also tells the snapshot.
func (s *session) start(ctx context.Context) *failure {
	opened := make(chan *failure, 1)
	s.opening.Go(func() {
		f := s.open(ctx)
		opened <- f
		if f == nil {
			s.catchUp(ctx)
		}
	})
	return <-opened
}

// finish returns when nothing is left of the session. Its end has been noted, which ends the catching up.
func (s *session) finish() {
	s.opening.Wait()
	if s.unwatch != nil {
		s.unwatch()
		_ = s.conn.Close() // its loss is already told
	}
}

// receive takes one message from its reader, or the error in its place.
func (s *session) receive(kind int, r io.Reader, err error) *failure {
	return s.gather(kind, r, err, s.take)
}

// open mints a token, dials, and waits for init.
func (s *session) open(ctx context.Context) *failure {
	if !WorkerSID.MatchString(s.agent.ID) {
		return fail(permanent, "agent_id", fmt.Errorf("agent id %.40q is not a worker SID (WK and 32 hex digits); correct the roster", s.agent.ID))
	}
	var (
		err error
		f   *failure
	)
	if s.token, err = s.src.mint(s.agent.ID, time.Now()); err != nil {
		return fail(again, "api_secret", fmt.Errorf("mint token: %w", err))
	}
	if s.conn, f = s.src.dial(ctx, s.token.text); f != nil {
		return f
	}
	s.unwatch = context.AfterFunc(ctx, s.leave) // wakes the reader
	s.conn.SetReadLimit(int64(s.src.cfg.FrameCap))
	s.expires = s.token.expires
	return s.awaitInit()
}

// awaitInit reads until the vendor's init frame, which it keeps back like all others.
func (s *session) awaitInit() *failure {
	// The only read deadline of a session: afterwards silence is the caller's to judge.
	if err := s.conn.SetReadDeadline(time.Now().Add(time.Duration(s.src.cfg.InitTimeout))); err != nil {
		return readFailure(err, time.Now(), s.expires)
	}
	for s.since.IsZero() {
		kind, r, err := s.conn.NextReader()
		f := s.gather(kind, r, err, func(m message) *failure {
			if gjson.GetBytes(m.body, "event_type").Str == "init" {
				s.since = m.at
				s.left = s.token.lifeLeft(m.at, gjson.GetBytes(m.body, "payload.token_lifetime").Int(), time.Duration(s.src.cfg.TokenLifetime))
				s.expires = m.at.Add(s.left)
			}
			return s.hold(m)
		})
		var timeout interface{ Timeout() bool }
		if f != nil && errors.As(f.err, &timeout) && timeout.Timeout() {
			return fail(again, "init_timeout", fmt.Errorf("no init within %v: %w", s.src.cfg.InitTimeout, f.err))
		}
		if f != nil {
			return f
		}
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return readFailure(err, time.Now(), s.expires)
	}
	return nil
}

// largestKept is the capacity above which a read buffer is not used again, in bytes.
const largestKept = 64 << 10

// gather reads one message and gives it to take, or returns what the error in its place means. The body is only valid during the call. A buffer is
// taken when the message has begun to arrive, so that thousands of quiet sessions share a few.
func (s *session) gather(kind int, r io.Reader, err error, take func(message) *failure) *failure {
	if err != nil {
		return readFailure(err, time.Now(), s.expires)
	}
	buf := s.src.buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= largestKept {
			buf.Reset()
			s.src.buffers.Put(buf)
		}
	}()
	_, err = buf.ReadFrom(r)
	m := message{at: time.Now()}
	if err != nil {
		return readFailure(err, m.at, s.expires)
	}
	if kind != websocket.TextMessage || len(bytes.TrimSpace(buf.Bytes())) > 0 { // a blank text frame is the heartbeat: protocol, section 4.4
		m.body = buf.Bytes()
		if m.body == nil {
			m.body = []byte{} // an empty binary frame is content, if strange
		}
	}
	return take(m)
}

// take handles a message once init has come.
func (s *session) take(m message) *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live {
		return s.hold(m)
	}
	s.tell(m)
	return nil
}

// hold keeps m back until the snapshot is told.
func (s *session) hold(m message) *failure {
	s.size += len(m.body) + overhead
	if s.size > int(s.src.cfg.Buffer) {
		return fail(again, "snapshot", fmt.Errorf("more than %v of frames came before the snapshot", s.src.cfg.Buffer))
	}
	s.held = append(s.held, message{bytes.Clone(m.body), m.at})
	return nil
}

func (s *session) tell(m message) {
	if m.body == nil {
		s.in.Beat(source.Live, m.at)
		return
	}
	s.in.Frame(source.Frame{Feed: source.Live, Body: m.body, Received: m.at})
}

// catchUp fetches the snapshot and tells it, then what was held back. The reader waits at the mutex meanwhile, so that what it has read
// comes after.
func (s *session) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.src.cfg.SnapshotTimeout))
	defer cancel()
	if !s.abortable(cancel) {
		return
	}
	body, asked, f := s.snapshot(ctx)
	if f != nil {
		s.end(f)
		s.leave() // wakes the reader
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	s.in.Up(source.Live, s.since, renewBy(s.since, s.left))
	s.in.Frame(source.Frame{Feed: source.State, Body: body, Received: asked})
	for _, m := range s.held {
		s.tell(m)
	}
	s.held, s.token.text, s.live, s.abort = nil, "", true, nil
}

// abortable has the end of the session abort the catching up. False: it has ended.
func (s *session) abortable(abort func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return false
	}
	s.abort = abort
	return true
}

// end notes why the session ends, aborts the catching up and returns the first cause; the others follow from it.
func (s *session) end(f *failure) *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = f
	}
	if s.abort != nil {
		s.abort()
	}
	return s.ended
}

// leave closes the socket as the vendor's SDK does, with a close frame without code, and wakes its reader. The frame is a courtesy: a peer that
// does not take it is not waited for.
func (s *session) leave() {
	_ = s.conn.WriteControl(websocket.CloseMessage, nil, time.Now().Add(100*time.Millisecond))
	_ = s.conn.Close()
}

package taskrouter

import (
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	writeTimeout = 5 * time.Second
	closeTimeout = time.Second // for the client's answer to our close frame
	maxQueued    = 4096        // frames; a client further behind is reset
	maxReceived  = 64 << 10    // bytes; clients have nothing to say on this socket
)

var (
	forever   = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	heartbeat = frame{kind: websocket.TextMessage, data: []byte("\n")}
	expired   = ending{code: websocket.ClosePolicyViolation, reason: "token expired"}
)

type frame struct {
	kind int // websocket.TextMessage, BinaryMessage or PingMessage
	data []byte
	seq  int64         // its ledger entry, 0: none
	due  time.Time     // not written before; frames behind it wait too, because the order holds
	done chan struct{} // closed when the writer gets here: a mark instead of a frame
}

// release reports whether f is a mark, and if so lets go whoever waits for it.
func (f frame) release() bool {
	if f.done != nil {
		close(f.done)
	}
	return f.done != nil
}

// ending says how a socket is taken down: by a close frame with code, or (zero) merely closed.
type ending struct {
	code   int
	reason string
}

// socket is one worker's connection. Its writer goroutine makes every write but pongs; the HTTP handler's goroutine reads. Frames are
// queued under the simulator's lock and written without it, so a client that does not read holds up nobody else.
type socket struct {
	conn    *websocket.Conn
	worker  *worker
	expires time.Time // when the server ends the session; zero: never
	offline bool      // losing the last socket may set the worker offline
	clean   bool      // the client has closed it by a close frame

	mu           sync.Mutex
	queue        []frame
	mutedUntil   time.Time
	noBeatsUntil time.Time

	wake  chan struct{} // 1: queue or mutedUntil changed
	end   chan ending   // 1: the first one counts
	ended chan struct{} // closed when the writer has returned
}

func newSocket(conn *websocket.Conn, w *worker) *socket {
	return &socket{conn: conn, worker: w, wake: make(chan struct{}, 1), end: make(chan ending, 1), ended: make(chan struct{})}
}

// enqueue never blocks. A mute without end drops what it would never write.
func (k *socket) enqueue(f frame) {
	k.mu.Lock()
	full := len(k.queue) >= maxQueued
	if !full && (f.done != nil || k.mutedUntil != forever) {
		k.queue = append(k.queue, f)
	}
	k.mu.Unlock()
	if full {
		k.reset()
	}
	k.signal()
}

func (k *socket) mute(until time.Time) {
	k.mu.Lock()
	k.mutedUntil = until
	k.mu.Unlock()
	k.signal()
}

// stopBeats leaves out heartbeats. Those due before until are not made up for.
func (k *socket) stopBeats(until time.Time) {
	k.mu.Lock()
	k.noBeatsUntil = until
	k.mu.Unlock()
}

func (k *socket) beats(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !now.Before(k.noBeatsUntil)
}

func (k *socket) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *socket) stop(e ending) {
	select {
	case k.end <- e:
	default:
	}
}

// take returns what is to be written now, and when the first frame of the rest is due (zero: there is no rest). A muted socket has
// nothing to write, not even heartbeats, until then.
func (k *socket) take(now time.Time, spare []frame) (batch []frame, due time.Time, muted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Before(k.mutedUntil) {
		k.queue = slices.DeleteFunc(k.queue, frame.release) // nobody waits for a muted socket
		return nil, k.mutedUntil, true
	}
	n := slices.IndexFunc(k.queue, func(f frame) bool { return now.Before(f.due) })
	if n < 0 {
		batch, k.queue = k.queue, spare[:0]
		return batch, time.Time{}, false
	}
	due = k.queue[n].due
	batch, k.queue = k.queue[:n], append(spare[:0], k.queue[n:]...)
	return batch, due, false
}

// muted tells the reader's side not to answer pings.
func (k *socket) muted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().Before(k.mutedUntil)
}

// flush waits until what is queued has been written, or the socket is muted or has ended.
func (k *socket) flush() {
	f := frame{done: make(chan struct{})}
	k.enqueue(f)
	select {
	case <-f.done:
	case <-k.ended:
	}
}

// write is the writer goroutine. It returns after it has been stopped, at expires, or when a write fails; the connection is then closed
// or about to be, so that the reader ends too.
func (k *socket) write(every time.Duration, l *ledger) {
	defer close(k.ended)
	beat := time.Now().Add(every)
	timer := time.NewTimer(every)
	defer timer.Stop()
	var spare []frame
	for {
		now := time.Now()
		batch, due, muted := k.take(now, spare)
		next := due
		if !muted {
			if !k.expires.IsZero() && !now.Before(k.expires) {
				k.finish(expired)
				return
			}
			if !now.Before(beat) {
				if k.beats(now) {
					batch = append(batch, heartbeat)
				}
				if beat = beat.Add(every); beat.Before(now) {
					beat = now.Add(every)
				}
			}
			if !k.writeAll(batch, l) {
				_ = k.conn.Close() // the write's error is the client's going
				return
			}
			clear(batch) // the next batch's queue must not keep these frames alive
			spare = batch
			next = beat
			for _, t := range []time.Time{due, k.expires} {
				if !t.IsZero() && t.Before(next) {
					next = t
				}
			}
		}
		timer.Reset(time.Until(next))
		select {
		case <-k.wake:
		case <-timer.C:
		case e := <-k.end:
			k.finish(e)
			return
		}
	}
}

func (k *socket) writeAll(batch []frame, l *ledger) bool {
	for _, f := range batch {
		if f.release() {
			continue
		}
		now := time.Now()
		if k.writeFrame(f, now.Add(writeTimeout)) != nil {
			return false
		}
		if f.seq != 0 {
			l.delivered(f.seq, now)
		}
	}
	return true
}

func (k *socket) writeFrame(f frame, deadline time.Time) error {
	if f.kind == websocket.PingMessage {
		return k.conn.WriteControl(f.kind, f.data, deadline)
	}
	_ = k.conn.SetWriteDeadline(deadline) // cannot fail; the write reports
	return k.conn.WriteMessage(f.kind, f.data)
}

// finish takes the connection down. After a close frame the client has closeTimeout to answer: an immediate close could overtake it.
func (k *socket) finish(e ending) {
	if e.code != 0 {
		deadline := time.Now().Add(closeTimeout)
		if k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(e.code, e.reason), deadline) == nil {
			_ = k.conn.SetReadDeadline(deadline) // ends the reader, which closes the connection
			return
		}
	}
	_ = k.conn.Close()
}

// reset ends the TCP connection at once, from any goroutine, without waiting for a writer that is stuck; reader and writer then end.
func (k *socket) reset() {
	if tcp, ok := k.conn.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // if it fails the client sees an orderly end, which it must survive as well
	}
	_ = k.conn.Close()
}

// read counts the frames that the client sends, through count, and returns when the connection has ended; clean if by a close frame.
func (k *socket) read(count func()) (clean bool) {
	k.conn.SetReadLimit(maxReceived)
	k.conn.SetPingHandler(func(data string) error {
		count()
		if k.muted() {
			return nil
		}
		_ = k.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout)) // a dead peer fails the next read
		return nil
	})
	for {
		if _, _, err := k.conn.NextReader(); err != nil {
			return websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived)
		}
		count()
	}
}

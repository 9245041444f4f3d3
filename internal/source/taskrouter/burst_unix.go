//go:build unix

package taskrouter

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// burst is how much is read from a socket at once, in bytes: a dozen messages.
const burst = 16 << 10

// bursts are the buffers of connections that have something to be read; idle ones hold none.
var bursts = sync.Pool{New: func() any { return new([burst]byte) }}

// burstConn reads from its socket as much as there is, and so with one system call what would else take one for every buffer of the WebSocket
// library. It takes a buffer when something has come and gives it back when that is read: a thousand quiet connections share a few. One goroutine
// reads at a time.
type burstConn struct {
	net.Conn
	raw     syscall.RawConn
	receive func(fd uintptr) bool // c.received: a method value is allocated

	buf      *[burst]byte // nil: nothing was received that is not read
	from, to int
	err      error // of the last system call
}

// newBurstConn is conn, where that has a socket that can be read like this.
func newBurstConn(conn net.Conn) net.Conn {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return conn
	}
	c := &burstConn{Conn: conn, raw: raw}
	c.receive = c.received
	return c
}

// Read implements net.Conn.
func (c *burstConn) Read(p []byte) (int, error) {
	if c.buf == nil {
		if len(p) == 0 || len(p) >= burst {
			return c.Conn.Read(p)
		}
		if err := c.raw.Read(c.receive); err != nil { // closed, or its deadline has passed
			return 0, err
		}
		if c.buf == nil {
			return 0, c.end()
		}
	}
	n := copy(p, c.buf[c.from:c.to])
	if c.from += n; c.from == c.to {
		bursts.Put(c.buf)
		c.buf = nil
	}
	return n, nil
}

// end is why there is nothing more. A function of its own: see serve about the frames of those that wait.
func (c *burstConn) end() error {
	if c.err != nil {
		return &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: c.err}
	}
	return io.EOF
}

// received is called when there may be something; false: wait until there is.
func (c *burstConn) received(fd uintptr) bool {
	buf := bursts.Get().(*[burst]byte)
	var n int
	for {
		if n, c.err = syscall.Read(int(fd), buf[:]); !errors.Is(c.err, syscall.EINTR) {
			break
		}
	}
	if c.err != nil || n == 0 {
		bursts.Put(buf)
		return !errors.Is(c.err, syscall.EAGAIN)
	}
	c.buf, c.from, c.to = buf, 0, n
	return true
}

//go:build unix

package taskrouter

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a connection as a session has it, and the vendor's end.
func pair(t *testing.T) (ours, vendors net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if vendors, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	ours = newBurstConn(conn)
	if ours == conn {
		t.Fatal("a TCP connection is read without bursts")
	}
	t.Cleanup(func() { _, _ = ours.Close(), vendors.Close() })
	return ours, vendors
}

// TestBurstReadsEverything reads a stream in pieces of any size, smaller and larger than a burst.
func TestBurstReadsEverything(t *testing.T) {
	ours, vendors := pair(t)
	rng := rand.New(rand.NewPCG(1, 2))
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(rng.Uint32())
	}
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(40_000))
			_, _ = vendors.Write(rest[:n])
			rest = rest[n:]
		}
		_ = vendors.Close()
	}()
	sizes := rand.New(rand.NewPCG(3, 4))
	var got []byte
	for {
		p := make([]byte, sizes.IntN(20_000)) // 0 too
		n, err := ours.Read(p)
		got = append(got, p[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, other than the %d sent", len(got), len(sent))
	}
	if c := ours.(*burstConn); c.buf != nil {
		t.Error("holds a buffer although everything is read")
	}
}

func TestBurstEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(ours, vendors net.Conn)
		want error
	}{
		{"deadline", func(ours, _ net.Conn) { _ = ours.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		{"closed here", func(ours, _ net.Conn) { _ = ours.Close() }, net.ErrClosed},
		{"closed there", func(_, vendors net.Conn) { _ = vendors.Close() }, io.EOF},
		{"reset", func(_, vendors net.Conn) { _, _ = vendors.(*net.TCPConn).SetLinger(0), vendors.Close() }, syscall.ECONNRESET},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, vendors := pair(t)
			ended := make(chan error, 1)
			go func() {
				_, err := ours.Read(make([]byte, 10))
				ended <- err
			}()
			tt.end(ours, vendors)
			if err := <-ended; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if c := ours.(*burstConn); c.buf != nil {
				t.Error("holds a buffer")
			}
		})
	}
}

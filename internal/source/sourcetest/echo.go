package sourcetest

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// Echo listens until t ends and answers every connection with what serve makes of the request, an empty text for nothing at all. It is for tests of
// secrets: net/http quotes a malformed status line in its error, so an answer that repeats the request puts the request's secrets there.
func Echo(t *testing.T, serve func(*bufio.Reader) string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, serve(bufio.NewReader(conn)))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

// RequestLine is the request's first line as a malformed status line, for [Echo].
func RequestLine(r *bufio.Reader) string {
	line, _ := r.ReadString('\n') // what there is of it
	return strings.ReplaceAll(line, " ", "_") + "\r\n\r\n"
}

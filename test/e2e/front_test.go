package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// front stands between a bridge and the simulator as a company's proxy and the vendor's TLS do: by CONNECT it gives whatever name it is asked for.
type front struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	serve func(net.Conn) // what follows upon CONNECT
	open  map[net.Conn]bool
	asked int
}

// newFront makes one that hangs up.
func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{listener: listener, serve: refuses(0), open: map[net.Conn]bool{}}
	f.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.running.Go(func() { f.accept(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		f.become(refuses(0))
		f.running.Wait()
	})
	return f
}

func (f *front) accept(conn net.Conn) {
	f.mu.Lock()
	f.open[conn] = true
	f.mu.Unlock()
	defer func() {
		_ = conn.Close()
		f.mu.Lock()
		delete(f.open, conn)
		f.mu.Unlock()
	}()
	if r, err := http.ReadRequest(bufio.NewReader(conn)); err != nil || r.Method != http.MethodConnect {
		return
	}
	f.mu.Lock()
	f.asked++
	serve := f.serve
	f.mu.Unlock()
	serve(conn)
}

// become cuts all connections; those to come are served otherwise.
func (f *front) become(serve func(net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serve = serve
	for conn := range f.open {
		_ = conn.Close()
	}
}

// count is how often a connection was asked for.
func (f *front) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// refuses answers with an HTTP status; 0 hangs up.
func refuses(status int) func(net.Conn) {
	return func(conn net.Conn) {
		if status != 0 {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
		}
	}
}

// tunnels connects with the simulator; it ends TLS if there is a certificate.
func tunnels(vendor string, c *tls.Certificate) func(net.Conn) {
	var config *tls.Config
	if c != nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*c}}
	}
	return func(conn net.Conn) {
		to, err := net.Dial("tcp", vendor)
		if err != nil {
			return
		}
		defer func() { _ = to.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		from := conn
		if config != nil {
			from = tls.Server(conn, config)
		}
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(from, to)
			_ = conn.Close()
		})
		_, _ = io.Copy(to, from)
		_ = to.Close()
		back.Wait()
	}
}

// certificate is one for a name that vouches for itself, and as the file of an authority.
func certificate(t *testing.T, name string) (c tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, write(t, t.TempDir(), "authority.pem", string(authority))
}

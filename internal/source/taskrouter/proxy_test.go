package taskrouter

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

// tunnel is a proxy that knows CONNECT. It answers with status unless that is 200.
type tunnel struct {
	*httptest.Server
	status int
	mu     sync.Mutex
	hosts  []string
	open   sync.WaitGroup
}

func newTunnel(t *testing.T, status int) *tunnel {
	p := &tunnel{status: status}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.hosts = append(p.hosts, r.Method+" "+r.Host)
		p.mu.Unlock()
		if r.Method != http.MethodConnect || p.status != http.StatusOK {
			w.WriteHeader(p.status)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
		pipe := func(a, b net.Conn) {
			_, _ = io.Copy(a, b)
			_ = a.Close()
			_ = b.Close()
		}
		p.mu.Lock() // orders this before the Wait
		defer p.mu.Unlock()
		p.open.Go(func() { pipe(to, from) })
		p.open.Go(func() { pipe(from, to) })
	}))
	t.Cleanup(func() {
		p.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open.Wait()
	})
	return p
}

func TestProxy(t *testing.T) {
	p := newTunnel(t, http.StatusOK)
	v := newVendor(t)
	v.StartTLS()
	s := newSource(t, v.URL)
	trusted := x509.NewCertPool()
	trusted.AddCert(v.Certificate())
	s.dialer.TLSClientConfig.RootCAs = trusted
	s.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted}
	via, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.RawQuery != "" {
			t.Errorf("got the query %q in the choice of a proxy, want none", r.URL.RawQuery)
		}
		return via, nil
	}
	x := sourcetest.Start(t, s, *s.testAgent())
	x.WaitBody(initFrame)
	p.mu.Lock()
	defer p.mu.Unlock()
	host := v.Listener.Addr().String()
	if len(p.hosts) != 2 || p.hosts[0] != "CONNECT "+host || p.hosts[1] != "CONNECT "+host {
		t.Errorf("the proxy got %q, want a CONNECT to %s for the socket and one for the commands", p.hosts, host)
	}
	x.Cancel()
	_ = x.End()
	s.client.CloseIdleConnections() // ends the tunnels, for which the proxy waits
}

func TestProxyRefuses(t *testing.T) {
	p := newTunnel(t, http.StatusProxyAuthRequired)
	s := newSource(t, "https://127.0.0.1:1")
	via, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.proxy = func(*http.Request) (*url.URL, error) { return via, nil }
	err = s.Serve(t.Context(), s.testAgent(), sourcetest.NewRecorder(t))
	if got := retry.ReasonOf(err); got != "proxy" {
		t.Errorf("got reason %q (%v), want proxy", got, err)
	}
	_, err = s.client.Get(s.base.String())
	if got, _ := networkReason(err); got != "proxy" {
		t.Errorf("command: got reason %q (%v), want proxy", got, err)
	}
}

func TestListingThroughAProxy(t *testing.T) {
	a := newREST(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, workerPage(0, 1, "null"))
	})
	via, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newSource(t, "http://127.0.0.1:1", func(c *Config) { c.TaskRouterURL = "http://taskrouter.invalid/v1" })
	s.proxy = func(*http.Request) (*url.URL, error) { return via, nil }
	if got, err := s.workers(t, "", wantTimeout); len(got) != 1 || err != nil {
		t.Errorf("got %v and %v, want one worker", got, err)
	}
	if asks, _ := a.asked(); len(asks) != 1 || asks[0] != "GET http://taskrouter.invalid"+workersPath+"?PageSize=1000" {
		t.Errorf("the proxy got %q", asks)
	}
}

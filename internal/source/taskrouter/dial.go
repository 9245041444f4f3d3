package taskrouter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// errProxy marks a failure on the way through a proxy.
var errProxy = errors.New("proxy")

// proxyAnswer gives a type to a proxy's refusal of CONNECT, for which net/http has only text.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: HTTP status %d to CONNECT", errProxy, resp.StatusCode)
	}
	return nil
}

// socketURL has its parameters in the order of protocol section 4.1. A JWT needs no escaping. The session leaves the worker's other sockets
// alone and does not stand for her presence (section 11).
func (s *Source) socketURL(token string) string {
	u := *s.base
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	u.RawQuery = "token=" + token + "&closeExistingSessions=false&clientVersion=" + s.cfg.ClientVersion + "&setWorkerOfflineIfDisconnected=false"
	return u.String()
}

// dial opens a socket within the dial timeout, or until ctx ends.
func (s *Source) dial(ctx context.Context, token string) (*websocket.Conn, *failure) {
	d := s.dialer
	// The proxy is chosen here, by the URL without the token, because the library's errors do not tell the proxy's from the server's.
	via, err := s.proxy(&http.Request{Method: http.MethodGet, URL: s.base, Header: http.Header{}})
	if err != nil {
		return nil, fail(again, "proxy", fmt.Errorf("choose proxy: %w", err))
	}
	if via != nil {
		d.Proxy = http.ProxyURL(via)
	}
	// The library looks at ctx only until TCP is connected; a server or proxy that then stays silent would hold the caller for the rest of
	// the handshake timeout.
	unwatch := func() bool { return true }
	d.NetDialContext = func(dialing context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, addr)
		if err != nil {
			return nil, err
		}
		unwatch = context.AfterFunc(ctx, func() { _ = conn.Close() })
		return newBurstConn(conn), nil
	}
	began := time.Now()
	conn, resp, err := d.DialContext(ctx, s.socketURL(token), nil)
	unwatch()
	if resp == nil {
		s.metrics.request("upgrade", "none", time.Since(began))
	} else {
		s.metrics.request("upgrade", statusClass(resp.StatusCode), time.Since(began))
	}
	switch {
	case err == nil && resp.Header.Get("Sec-WebSocket-Extensions") != "":
		_ = conn.Close()
		// Not offered, so forbidden (RFC 6455, section 4.1), and the frame cap would count compressed bytes.
		return nil, fail(again, "bad_handshake", errors.New("dial: the server chose a WebSocket extension that was not offered"))
	case err == nil:
		return conn, nil
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, statusFailure("upgrade", resp, fmt.Errorf("dial: HTTP status %d", resp.StatusCode))
	}
	err = fmt.Errorf("dial: %w", err)
	reason, typed := networkReason(err)
	switch {
	case via != nil && (!typed || reason == "dns" || reason == "connection_refused" || reason == "unreachable"):
		reason = "proxy" // it was the proxy that was looked up and connected to
	case !typed:
		reason = "bad_handshake"
	}
	return nil, fail(again, reason, err)
}

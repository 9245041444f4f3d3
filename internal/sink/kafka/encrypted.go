package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// encrypted makes connections with TLS. The library could, but would not tell a connection that ended in the handshake from one that ended later: a broker
// whose listener does not use TLS takes the first bytes of a handshake for the size of a request, finds it too large and hangs up without a word.
//
// Safe for concurrent use.
type encrypted struct {
	config *tls.Config
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	known  sync.Map // addresses where a handshake has succeeded
}

// errNoTLS says that an address where no handshake has succeeded yet has hung up on one. Where one has, a broker is stopping: that is no news of its listener.
var errNoTLS = errors.New("the broker hangs up on the TLS handshake")

// connect returns after the handshake. Its errors are those of dial and of crypto/tls, or wrap errNoTLS.
func (e *encrypted) connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := e.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := e.config.Clone()
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			config.ServerName = address
		}
	}
	secure := tls.Client(conn, config)
	err = secure.HandshakeContext(ctx)
	if err == nil {
		e.known.Store(address, true)
		return secure, nil
	}
	_ = conn.Close() // of no use any more
	if _, known := e.known.Load(address); !known && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return nil, fmt.Errorf("%w: %w", errNoTLS, err)
	}
	return nil, fmt.Errorf("TLS handshake: %w", err)
}

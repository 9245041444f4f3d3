//go:build !unix

package taskrouter

import "net"

// newBurstConn is conn: elsewhere a socket is not read by waiting for it first.
func newBurstConn(conn net.Conn) net.Conn { return conn }

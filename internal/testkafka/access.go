package testkafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// User and Password are known to PLAIN and SCRAM. The certificate of a client is that of the user ClientName; a token may name any user.
const (
	User       = "bridge"
	Password   = "bridge-password"
	ClientName = "CN=client"
)

// Brokers are the addresses host:port of all nodes on the listener that asks for nothing, PLAINTEXT.
func (c *Cluster) Brokers() []string { return c.Listener("PLAINTEXT") }

// Listener is the same for any of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL.
func (c *Cluster) Listener(name string) (addresses []string) {
	for _, p := range c.ports {
		if p.listener == name {
			addresses = append(addresses, p.address)
		}
	}
	return addresses
}

// Connect makes a client of a listener, with kafka-go's own means. Its connections end with the test.
func (c *Cluster) Connect(t testing.TB, listener string, encryption *tls.Config, mechanism sasl.Mechanism) *kafka.Client {
	t.Helper()
	transport := &kafka.Transport{
		DialTimeout: 2 * time.Second,
		MetadataTTL: 200 * time.Millisecond, // leaders move
		TLS:         encryption,
		SASL:        mechanism,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(c.Listener(listener)...), Timeout: 5 * time.Second, Transport: transport}
}

// CA is a file: the certificate that the servers' are signed with.
func (c *Cluster) CA() string { return filepath.Join(c.dir, "tls", "ca.crt") }

// Certificate are two files, a client's certificate and its key.
func (c *Cluster) Certificate() (certificate, key string) {
	return filepath.Join(c.dir, "tls", "client.crt"), filepath.Join(c.dir, "tls", "client.key")
}

// TLS is how a client connects to SSL and SASL_SSL.
func (c *Cluster) TLS(t testing.TB) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(c.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate in %s", c.CA())
	}
	certificate, err := tls.LoadX509KeyPair(c.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}
}

// Token is an unsecured JWT for OAUTHBEARER (RFC 7515, appendix A.5): the broker asks for no signature. One whose lifetime is negative has expired.
func Token(user string, lifetime time.Duration) string {
	now := time.Now()
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, user, now.Add(-time.Hour).Unix(), now.Add(lifetime).Unix())
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
}

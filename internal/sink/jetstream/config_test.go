package jetstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

type document struct {
	NATS *Config `yaml:"nats"`
}

func TestConfigFile(t *testing.T) {
	var d document
	err := config.Parse("/etc/bridge/bridge.yaml", []byte(`
nats:
  url: nats://a:4222,tls://b.example.org
  stream: FACTS
  subject: facts.{partition:8}.{agent}
  mode: binary
  ack_timeout: 2s
  replicas: 3
  max_age: 30d
  max_bytes: 10GiB
  duplicate_window: 5m
  creds_file: bridge.creds
  tls: {ca_file: ca.pem, cert_file: c.pem, key_file: /k.pem, server_name: nats.example.org}
`), &d)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		URL: "nats://a:4222,tls://b.example.org", Stream: "FACTS", Subject: "facts.{partition:8}.{agent}", Mode: Binary,
		AckTimeout: config.Duration(2 * time.Second), Replicas: 3, MaxAge: config.Duration(30 * 24 * time.Hour), MaxBytes: 10 << 30,
		DuplicateWindow: config.Duration(5 * time.Minute), CredsFile: "/etc/bridge/bridge.creds", InboxPrefix: "_INBOX",
	}
	got := *d.NATS
	if want := (TLS{"/etc/bridge/ca.pem", "/etc/bridge/c.pem", "/k.pem", "nats.example.org"}); *got.TLS != want {
		t.Errorf("tls: got %+v, want %+v", *got.TLS, want)
	}
	got.TLS = nil
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConfigRefuses(t *testing.T) {
	t.Setenv("BRIDGE_PASSWORD", "hunter2")
	tests := []struct{ yaml, want string }{
		{`{stream: F}`, "nats.url: missing; allowed: nats://host:4222, or embedded"},
		{`{stream: F, url: "nats://a", embedded: {dir: d}}`, "nats.embedded: set together with url"},
		{`{stream: F, embedded: {}}`, "nats.embedded.dir: missing"},
		{`{stream: F, embedded: {dir: d}, replicas: 3}`, "nats.replicas: out of range; allowed: 1 to 1"},
		{`{stream: F, embedded: {dir: d, port: 70000}}`, "nats.embedded.port: out of range"},
		{`{stream: F, url: "http://a"}`, "nats.url: not a server's URL"},
		{`{stream: F, url: "nats://a,"}`, "nats.url: not a server's URL"},
		{`{stream: F, url: "nats://u:hunter2@a"}`, "nats.url: holds credentials"},
		{`{url: "nats://a"}`, "nats.stream: missing"},
		{`{url: "nats://a", stream: "a.b"}`, "nats.stream: not valid"},
		{`{url: "nats://a", stream: "a b"}`, "nats.stream: not valid"},
		{`{url: "nats://a", stream: F, subject: "a.{worker}"}`, `nats.subject: token 2, "{worker}": not a known placeholder; allowed: tokens joined by dots`},
		{`{url: "nats://a", stream: F, mode: json}`, "nats.mode: not a known word; allowed: structured, binary"},
		{`{url: "nats://a", stream: F, ack_timeout: 1ms}`, "nats.ack_timeout: out of range; allowed: 100ms to 1m"},
		{`{url: "nats://a", stream: F, replicas: 6}`, "nats.replicas: out of range; allowed: 1 to 5"},
		{`{url: "nats://a", stream: F, duplicate_window: 2d}`, "nats.duplicate_window: out of range"},
		{`{url: "nats://a", stream: F, max_age: 1m}`, "nats.max_age: shorter than duplicate_window"},
		{`{url: "nats://a", stream: F, user: u}`, "nats.password: missing"},
		{"{url: \"nats://a\", stream: F, password: \"${BRIDGE_PASSWORD}\"}", "nats.user: missing"},
		{`{url: "nats://a", stream: F, token_file: t, nkey_file: n}`, "nats: several ways of authentication"},
		{`{url: "nats://a", stream: F, tls: {cert_file: c}}`, "nats.tls: cert_file or key_file alone"},
		{`{url: "nats://a", stream: F, tls: {insecure: true}}`, "unknown key"},
		{`{url: "nats://a", stream: F, inbox_prefix: "a.>"}`, "nats.inbox_prefix: not valid"},
	}
	for _, tt := range tests {
		var d document
		err := config.Parse("bridge.yaml", []byte("nats: "+tt.yaml), &d)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one problem that says %q", tt.yaml, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a password: %v", tt.yaml, err)
		}
	}
}

func TestNewRefusesFiles(t *testing.T) {
	dir := t.TempDir()
	open := writeFile(t, dir, "open", "SUsecret", 0o600)
	if err := os.Chmod(string(open), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no such file":          func(c *Config) { c.TokenFile = "/nowhere/token" },
		"others can access it":  func(c *Config) { c.CredsFile = open },
		"not a user's nkey":     func(c *Config) { c.NkeyFile = open },
		"rootCA":                func(c *Config) { c.TLS = &TLS{CAFile: "/nowhere/ca.pem"} },
		"no such file or direc": func(c *Config) { c.TLS = &TLS{CertFile: "/nowhere/c.pem", KeyFile: "/nowhere/k.pem"} },
	} {
		c := testConfig("nats://127.0.0.1:4222")
		change(&c)
		_, err := New(c, zap.NewNop(), prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "SUsecret") {
			t.Errorf("got %v, want it to say %q", err, name)
		}
	}
}

// TestAuthentication connects in every supported way.
func TestAuthentication(t *testing.T) {
	dir := t.TempDir()
	user := nkey(t, nkeys.CreateUser)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		server server.Options
		change func(*Config)
	}{
		{"password", server.Options{Username: "bridge", Password: "pw"}, func(c *Config) {
			c.User, c.PasswordFile = "bridge", secretFile(t, dir, "password", "pw\n")
		}},
		{"token", server.Options{Authorization: "tk"}, func(c *Config) { c.TokenFile = secretFile(t, dir, "token", "tk") }},
		{"nkey", server.Options{Nkeys: []*server.NkeyUser{{Nkey: public(t, user)}}}, func(c *Config) {
			c.NkeyFile = secretFile(t, dir, "seed", string(seed))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig(custom(t, tt.server))
			tt.change(&c)
			s := connect(t, c)
			if err := send(t, s, record("x")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCredentialsFile connects as a user of an operator's account, which has no JetStream: being let in is what counts here.
func TestCredentialsFile(t *testing.T) {
	operator, account, user := nkey(t, nkeys.CreateOperator), nkey(t, nkeys.CreateAccount), nkey(t, nkeys.CreateUser)
	resolver := &server.MemAccResolver{}
	claims := jwt.NewAccountClaims(public(t, account))
	text, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := resolver.Store(public(t, account), text); err != nil {
		t.Fatal(err)
	}
	userText, err := jwt.NewUserClaims(public(t, user)).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userText, seed)
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig(custom(t, server.Options{TrustedKeys: []string{public(t, operator)}, AccountResolver: resolver}))
	c.CredsFile = secretFile(t, t.TempDir(), "bridge.creds", string(creds))
	s := start(t, c, zap.NewNop(), prometheus.NewRegistry())
	sinktest.Eventually(t, func() error {
		if testutil.ToFloat64(s.metrics.connected) == 0 {
			return errors.New("not connected")
		}
		return nil
	})
}

func nkey(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRotatedPassword mends a wrong password in its file while the sink runs: the client must neither give up nor keep the old one.
func TestRotatedPassword(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(custom(t, server.Options{Username: "bridge", Password: "new"}))
	c.User, c.PasswordFile = "bridge", secretFile(t, dir, "password", "old")
	var log sinktest.Lines
	s := start(t, c, log.Logger(), prometheus.NewRegistry())
	sinktest.Eventually(t, func() error {
		if !strings.Contains(log.String(), "Authorization Violation") {
			return errors.New("not refused yet")
		}
		return nil
	})
	secretFile(t, dir, "password", "new")
	sinktest.Eventually(t, s.Ready)
}

// TestTLS connects to a server whose certificate is of an own authority, and which wants one of the client's.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certificate(t, "Test CA", nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	serverCert, serverKey := certificate(t, "nats.test", ca, caKey)
	clientCert, clientKey := certificate(t, "bridge", ca, caKey)
	clientDER, err := x509.MarshalPKCS8PrivateKey(clientKey)
	if err != nil {
		t.Fatal(err)
	}
	url := custom(t, server.Options{
		TLS: true, TLSVerify: true, TLSTimeout: 10,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{serverCert.Raw}, PrivateKey: serverKey}},
			ClientCAs:    pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		},
	})
	c := testConfig(strings.Replace(url, "tls://", "nats://", 1)) // the section alone makes it TLS
	c.TLS = &TLS{
		CAFile:     writeFile(t, dir, "ca.pem", pemText("CERTIFICATE", ca.Raw), 0o644),
		CertFile:   writeFile(t, dir, "c.pem", pemText("CERTIFICATE", clientCert.Raw), 0o644),
		KeyFile:    secretFile(t, dir, "k.pem", pemText("PRIVATE KEY", clientDER)),
		ServerName: "nats.test",
	}
	s := connect(t, c)
	if err := send(t, s, record("x")); err != nil {
		t.Error(err)
	}

	for _, change := range []func(*TLS){
		func(c *TLS) { c.CAFile = "" },                  // the system does not know the authority
		func(c *TLS) { c.ServerName = "other.test" },    // another server's certificate
		func(c *TLS) { c.CertFile, c.KeyFile = "", "" }, // the server wants one
	} {
		wrong, section := c, *c.TLS
		change(&section)
		wrong.TLS = &section
		s := start(t, wrong, zap.NewNop(), prometheus.NewRegistry())
		sinktest.Eventually(t, func() error {
			if got := s.Ready(); !strings.Contains(got.Error(), "tls") {
				return got
			}
			return nil
		})
	}
}

func certificate(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		parent, parentKey = template, key
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

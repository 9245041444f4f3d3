package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

const canary = "hunter2-canary"

// authority signs certificates for 127.0.0.1.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file config.Path
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	a.file = a.write("ca.pem", 0o644, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

func (a *authority) sign(c, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	c.Subject = pkix.Name{CommonName: "test"}
	signer := a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed, key
}

// pair is a certificate with its key, for a server and for a client.
func (a *authority) pair() (tls.Certificate, config.Path, config.Path) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key},
		a.write("cert.pem", 0o644, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), a.write("key.pem", 0o600, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func (a *authority) write(name string, mode os.FileMode, block *pem.Block) config.Path {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(block), mode); err != nil {
		a.t.Fatal(err)
	}
	return config.Path(path)
}

func secretFile(t *testing.T, content string) config.Path {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Path(path)
}

// TestSecure connects in every way that is possible, and in some that are not; what is told says what to look at, and no secret.
func TestSecure(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server, certFile, keyFile := a.pair()
	_, foreignCert, foreignKey := other.pair()
	mutual := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	mutual.ClientCAs.AddCert(a.cert)
	oneWay := &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS12}
	users := []kfake.Opt{
		kfake.EnableSASL(), kfake.User("PLAIN", "bridge", canary), kfake.User("SCRAM-SHA-256", "bridge", canary), kfake.User("SCRAM-SHA-512", "bridge", canary),
	}
	for _, tt := range []struct {
		name    string
		options []kfake.Opt
		tls     *TLS
		sasl    *SASL
		reason  string // empty: it opens
	}{
		{"tls", []kfake.Opt{kfake.TLS(oneWay)}, &TLS{CAFile: a.file}, nil, ""},
		{"mutual tls", []kfake.Opt{kfake.TLS(mutual)}, &TLS{CAFile: a.file, CertFile: certFile, KeyFile: keyFile}, nil, ""},
		{"no client certificate", []kfake.Opt{kfake.TLS(mutual)}, &TLS{CAFile: a.file}, nil, "tls"},
		{"another's client certificate", []kfake.Opt{kfake.TLS(mutual)}, &TLS{CAFile: a.file, CertFile: foreignCert, KeyFile: foreignKey}, nil, "tls"},
		{"another authority", []kfake.Opt{kfake.TLS(oneWay)}, &TLS{CAFile: other.file}, nil, "tls"},
		{"another name", []kfake.Opt{kfake.TLS(oneWay)}, &TLS{CAFile: a.file, ServerName: "broker.example.org"}, nil, "tls"},
		// Here the fake broker ends the connection without a word; a real one says enough to be told apart.
		{"plain to tls", []kfake.Opt{kfake.TLS(oneWay)}, nil, nil, "disconnected"},
		{"plain", users, nil, &SASL{Mechanism: "plain", User: "bridge", PasswordFile: secretFile(t, canary+"\n")}, ""},
		{"scram 256", users, nil, &SASL{Mechanism: "scram-sha-256", User: "bridge", Password: config.NewSecret(canary)}, ""},
		{"scram 512 over tls", append(users, kfake.TLS(oneWay)), &TLS{CAFile: a.file}, &SASL{Mechanism: "scram-sha-512", User: "bridge", PasswordFile: secretFile(t, canary)}, ""},
		// As above.
		{"wrong password", users, nil, &SASL{Mechanism: "plain", User: "bridge", Password: config.NewSecret(canary + "-old")}, "disconnected"},
		{"wrong scram password", users, nil, &SASL{Mechanism: "scram-sha-256", User: "bridge", Password: config.NewSecret(canary + "-old")}, "disconnected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, err := kfake.NewCluster(append(tt.options, kfake.NumBrokers(1), kfake.SeedTopics(1, "facts"))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			cfg := testConfig(&cluster{Cluster: k})
			cfg.TLS, cfg.SASL = tt.tls, tt.sasl
			var log sinktest.Lines
			s := makeSink(t, cfg, log.Logger())
			sinktest.Connect(t, s)
			err = s.Open(t.Context())
			switch {
			case tt.reason == "" && err != nil:
				t.Fatal(err)
			case tt.reason != "":
				if got := retry.ReasonOf(err); got != tt.reason {
					t.Errorf("got %s, want %s: %v", got, tt.reason, err)
				}
				if err := s.Ready(); retry.ReasonOf(err) != tt.reason {
					t.Errorf("Ready: got %v", err)
				}
			default:
				b, answers := batch(s, records("WT1", 1, 3))
				if err := send(t, s, b, answers); err != nil {
					t.Fatal(err)
				}
			}
			if said := fmt.Sprint(err, s.Ready(), log.String(), cfg); strings.Contains(said, canary) {
				t.Errorf("the secret is in: %s", said)
			}
		})
	}
}

// TestPasswordIsReadAgain: a rotated password is used from the next connection on.
func TestPasswordIsReadAgain(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "facts"), kfake.EnableSASL(), kfake.User("PLAIN", "bridge", canary))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	cfg := testConfig(&cluster{Cluster: k})
	file := secretFile(t, "old")
	cfg.SASL = &SASL{Mechanism: "plain", User: "bridge", PasswordFile: file}
	s := makeSink(t, cfg, zapNop)
	sinktest.Connect(t, s)
	if err := s.Open(t.Context()); err == nil {
		t.Fatal("got success with another password")
	}
	if err := os.WriteFile(string(file), []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
}

func TestBadFiles(t *testing.T) {
	missing := config.Path(filepath.Join(t.TempDir(), "missing"))
	open := secretFile(t, canary)
	if err := os.Chmod(string(open), 0o644); err != nil { //nolint:gosec // that is what is to be refused
		t.Fatal(err)
	}
	for path, change := range map[string]func(*Config){
		"tls.ca_file":        func(c *Config) { c.TLS = &TLS{CAFile: missing} },
		"tls.key_file":       func(c *Config) { c.TLS = &TLS{CertFile: missing, KeyFile: missing} },
		"tls.cert_file":      func(c *Config) { c.TLS = &TLS{CertFile: missing, KeyFile: secretFile(t, "x")} },
		"sasl.password_file": func(c *Config) { c.SASL = &SASL{Mechanism: "plain", User: "u", PasswordFile: open} },
		"sasl.token_file":    func(c *Config) { c.SASL = &SASL{Mechanism: "oauthbearer", TokenFile: missing} },
		"sasl.client_secret_file": func(c *Config) {
			c.SASL = &SASL{Mechanism: "oauthbearer", TokenURL: "https://x", ClientID: "c", ClientSecretFile: missing}
		},
	} {
		var cfg Config
		cfg.SetDefaults()
		cfg.Brokers = []string{"127.0.0.1:1"}
		change(&cfg)
		_, err := cfg.transport(nil)
		var p config.Problem
		if !errors.As(err, &p) || p.Path != path || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestValidateSASL(t *testing.T) {
	secret := config.NewSecret(canary)
	for _, tt := range []struct {
		sasl SASL
		want string // empty: valid
	}{
		{SASL{Mechanism: "plain", User: "u", Password: secret}, ""},
		{SASL{Mechanism: "scram-sha-512", User: "u", PasswordFile: "f"}, ""},
		{SASL{Mechanism: "oauthbearer", TokenFile: "f"}, ""},
		{SASL{Mechanism: "oauthbearer", TokenURL: "https://x/token", ClientID: "c", ClientSecret: secret}, ""},
		{SASL{Mechanism: "gssapi", User: "u", Password: secret}, "mechanism: not a known word"},
		{SASL{Mechanism: "plain", Password: secret}, "user: missing"},
		{SASL{Mechanism: "plain", User: "u"}, "password: missing"},
		{SASL{Mechanism: "plain", User: "u", Password: secret, TokenFile: "f"}, "mechanism: not the one"},
		{SASL{Mechanism: "oauthbearer"}, "token_file: token_file and token_url: not exactly one"},
		{SASL{Mechanism: "oauthbearer", TokenFile: "f", User: "u"}, "user: set with oauthbearer"},
		{SASL{Mechanism: "oauthbearer", TokenURL: "https://a:b@x", ClientID: "c", ClientSecret: secret}, "token_url: not a URL"},
		{SASL{Mechanism: "oauthbearer", TokenURL: "https://x", ClientSecret: secret}, "client_id: missing"},
		{SASL{Mechanism: "oauthbearer", TokenFile: "f", ClientID: "c"}, "client_id: set with token_file"},
	} {
		err := tt.sasl.Validate()
		if tt.want == "" && err != nil || tt.want != "" && !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.sasl, err, tt.want)
		}
	}
}

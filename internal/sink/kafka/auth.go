package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/taskbridge/taskbridge/internal/config"
)

// transport makes the library's connections, and reads every file once, so that a wrong path is known at start.
func (c *Config) transport(topics []string) (*kafkago.Transport, error) {
	t := &kafkago.Transport{
		Dial:        (&net.Dialer{Timeout: time.Duration(c.DialTimeout)}).DialContext,
		DialTimeout: time.Duration(c.DialTimeout), IdleTimeout: 5 * time.Minute, MetadataTopics: topics, ClientID: c.ClientID,
	}
	var (
		encryption *tls.Config
		err        error
	)
	if c.TLS != nil {
		if encryption, err = c.TLS.config(); err != nil {
			return nil, err
		}
		t.Dial = (&encrypted{config: encryption, dial: t.Dial}).connect // and not t.TLS: see there
	}
	if c.SASL != nil {
		if t.SASL, err = c.SASL.mechanism(encryption); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (c *TLS) config() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(string(c.CAFile))
		if err != nil {
			return nil, config.Problem{Path: "tls.ca_file", What: err.Error(), Allowed: "a file with certificates in PEM form"}
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, config.Problem{Path: "tls.ca_file", What: "holds no certificate", Allowed: "a file with certificates in PEM form"}
		}
	}
	if c.CertFile != "" {
		if _, err := config.ReadSecret(config.Secret{}, c.KeyFile); err != nil {
			return nil, config.Problem{Path: "tls.key_file", What: err.Error(), Allowed: config.SecretFileAllowed}
		}
		read := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(string(c.CertFile), string(c.KeyFile))
			return &pair, err
		}
		if _, err := read(); err != nil {
			return nil, config.Problem{Path: "tls.cert_file", What: err.Error(), Allowed: "a certificate in PEM form, with its key in key_file"}
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return read() }
	}
	return t, nil
}

// mechanism proves who the bridge is; secrets are read when it is asked to.
func (c *SASL) mechanism(t *tls.Config) (sasl.Mechanism, error) {
	if c.Mechanism == mechanismOAuth {
		token, err := c.tokens(t)
		return &bearer{token}, err
	}
	if _, err := config.ReadSecret(c.Password, c.PasswordFile); err != nil {
		return nil, config.Problem{Path: "sasl.password_file", What: err.Error(), Allowed: config.SecretFileAllowed}
	}
	return &password{c}, nil
}

// refused is a kafkago.SASLAuthenticationFailed in words of our own. Those of a broker or an endpoint may quote what it was given, and are never told.
type refused string

// Error is what has happened.
func (r refused) Error() string { return string(r) }

// Unwrap is the code.
func (refused) Unwrap() error { return kafkago.SASLAuthenticationFailed }

// password is PLAIN or SCRAM with the password as it is now.
type password struct{ *SASL }

// Name implements sasl.Mechanism.
func (p *password) Name() string {
	return map[string]string{mechanismPlain: "PLAIN", mechanismScram256: scram.SHA256.Name(), mechanismScram512: scram.SHA512.Name()}[p.Mechanism]
}

// Start implements sasl.Mechanism.
func (p *password) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	secret, err := config.ReadSecret(p.Password, p.PasswordFile)
	if err != nil {
		return nil, nil, fmt.Errorf("sasl: %w", err)
	}
	var m sasl.Mechanism
	switch p.Mechanism {
	case mechanismPlain:
		m = plain.Mechanism{Username: p.User, Password: secret.Reveal()}
	case mechanismScram256:
		m, err = scram.Mechanism(scram.SHA256, p.User, secret.Reveal())
	default:
		m, err = scram.Mechanism(scram.SHA512, p.User, secret.Reveal())
	}
	if err != nil {
		return nil, nil, errors.New("sasl: user or password holds characters that SCRAM does not allow") // the library's error may quote them
	}
	return m.Start(ctx)
}

// bearer is OAUTHBEARER (RFC 7628) with the token as it is now.
type bearer struct {
	token func(context.Context) (config.Secret, error)
}

// Name implements sasl.Mechanism.
func (*bearer) Name() string { return "OAUTHBEARER" }

// Start implements sasl.Mechanism.
func (b *bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sasl: %w", err)
	}
	return b, []byte("n,,\x01auth=Bearer " + token.Reveal() + "\x01\x01"), nil
}

// Next implements sasl.StateMachine: a broker that accepts says nothing more (RFC 7628, section 3.2.2).
func (*bearer) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		return false, nil, refused("the broker refuses the token")
	}
	return true, nil, nil
}

// tokenTimeout bounds one request for a token.
const tokenTimeout = 10 * time.Second

// tokens gives the token: from its file, or from the endpoint, which is asked again shortly before the last one expires.
func (c *SASL) tokens(t *tls.Config) (func(context.Context) (config.Secret, error), error) {
	if c.TokenFile != "" {
		read := func(context.Context) (config.Secret, error) {
			s, err := config.ReadSecret(config.Secret{}, c.TokenFile)
			return config.NewSecret(string(bytes.TrimSpace([]byte(s.Reveal())))), err
		}
		if _, err := config.ReadSecret(config.Secret{}, c.TokenFile); err != nil {
			return nil, config.Problem{Path: "sasl.token_file", What: err.Error(), Allowed: config.SecretFileAllowed}
		}
		return read, nil
	}
	if _, err := config.ReadSecret(c.ClientSecret, c.ClientSecretFile); err != nil {
		return nil, config.Problem{Path: "sasl.client_secret_file", What: err.Error(), Allowed: config.SecretFileAllowed}
	}
	client := &http.Client{
		Timeout:       tokenTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if t != nil {
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs}
	}
	e := &endpoint{SASL: c, client: client}
	return e.token, nil
}

// endpoint asks for tokens with client credentials.
type endpoint struct {
	*SASL
	client *http.Client

	mu   sync.Mutex
	last *oauth2.Token
}

func (e *endpoint) token(ctx context.Context) (config.Secret, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last.Valid() {
		return config.NewSecret(e.last.AccessToken), nil
	}
	secret, err := config.ReadSecret(e.ClientSecret, e.ClientSecretFile)
	if err != nil {
		return secret, err
	}
	ask := clientcredentials.Config{ClientID: e.ClientID, ClientSecret: secret.Reveal(), TokenURL: e.TokenURL, Scopes: e.Scopes}
	token, err := ask.Token(context.WithValue(ctx, oauth2.HTTPClient, e.client))
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer):
		return config.Secret{}, refused(fmt.Sprintf("the token endpoint answers %d to the client's credentials", answer.Response.StatusCode))
	case err != nil:
		return config.Secret{}, fmt.Errorf("ask for a token: %w", err)
	}
	e.last = token
	return config.NewSecret(token.AccessToken), nil
}

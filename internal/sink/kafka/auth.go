package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

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
		from, err := c.tokens(t)
		return &bearer{from}, err
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

package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/taskbridge/taskbridge/internal/config"
)

// bearer is OAUTHBEARER (RFC 7628) with the token as it is now.
type bearer struct{ from tokens }

// login is one attempt.
type login struct {
	from  tokens
	token config.Secret
}

// tokens is where the token comes from. Safe for concurrent use.
type tokens interface {
	token(ctx context.Context) (config.Secret, error)
	// refused says that a broker did not take this token.
	refused(config.Secret)
	// close returns when nothing is under way any more; there are no tokens after it. Idempotent.
	close()
}

// Name implements sasl.Mechanism.
func (*bearer) Name() string { return "OAUTHBEARER" }

// Start implements sasl.Mechanism.
func (b *bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.from.token(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sasl: %w", err)
	}
	return &login{b.from, token}, []byte("n,,\x01auth=Bearer " + token.Reveal() + "\x01\x01"), nil
}

// Next implements sasl.StateMachine: a broker that accepts says nothing more (RFC 7628, section 3.2.2).
func (l *login) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		l.from.refused(l.token)
		return false, nil, refused("the broker refuses the token")
	}
	return true, nil, nil
}

// tokens checks that the token, or the secret to get one with, can be read.
func (c *SASL) tokens(t *tls.Config) (tokens, error) {
	if c.TokenFile != "" {
		if _, err := config.ReadSecret(config.Secret{}, c.TokenFile); err != nil {
			return nil, config.Problem{Path: "sasl.token_file", What: err.Error(), Allowed: config.SecretFileAllowed}
		}
		return tokenFile(c.TokenFile), nil
	}
	if _, err := config.ReadSecret(c.ClientSecret, c.ClientSecretFile); err != nil {
		return nil, config.Problem{Path: "sasl.client_secret_file", What: err.Error(), Allowed: config.SecretFileAllowed}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if t != nil {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs}
	}
	e := &endpoint{SASL: c, client: &http.Client{
		Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	e.life, e.end = context.WithCancel(context.Background())
	return e, nil
}

// tokenFile holds a token that something else renews.
type tokenFile config.Path

func (f tokenFile) token(context.Context) (config.Secret, error) {
	s, err := config.ReadSecret(config.Secret{}, config.Path(f))
	return config.NewSecret(string(bytes.TrimSpace([]byte(s.Reveal())))), err
}

func (tokenFile) refused(config.Secret) {}

func (tokenFile) close() {}

// tokenTimeout bounds one request for a token.
const tokenTimeout = 10 * time.Second

// endpoint asks for tokens with client credentials, and again shortly before the last one expires. One request is under way at a time. It has its own time, and goes
// on when whoever asked first has gone: a connection may take less (dial_timeout), and the next one then finds the token here.
type endpoint struct {
	*SASL
	client *http.Client
	life   context.Context //nolint:containedctx // of the requests
	end    context.CancelFunc

	mu     sync.Mutex
	last   *oauth2.Token
	asking *tokenRequest // nil: none is under way
}

type tokenRequest struct {
	answered chan struct{} // closed when the others are set
	token    config.Secret
	err      error
}

func (e *endpoint) token(ctx context.Context) (config.Secret, error) {
	r, err := e.request()
	if err != nil {
		return config.Secret{}, err
	}
	select {
	case <-r.answered:
		return r.token, r.err
	case <-ctx.Done():
		return config.Secret{}, fmt.Errorf("the token endpoint takes longer than dial_timeout, it is waited for and tried again: %w", ctx.Err())
	}
}

// refused lets go of the token: an endpoint need not say when one expires (RFC 6749, section 5.1).
func (e *endpoint) refused(token config.Secret) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != nil && e.last.AccessToken == token.Reveal() {
		e.last = nil
	}
}

// request is the one under way, or a new one, or one that is answered already with a token that is still good.
func (e *endpoint) request() (*tokenRequest, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.Err() != nil {
		return nil, errClosed
	}
	if e.asking != nil {
		return e.asking, nil
	}
	r := &tokenRequest{answered: make(chan struct{})}
	if e.last.Valid() {
		r.token = config.NewSecret(e.last.AccessToken)
		close(r.answered)
		return r, nil
	}
	e.asking = r
	go e.answer(r)
	return r, nil
}

func (e *endpoint) answer(r *tokenRequest) {
	token, err := e.ask()
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.err = err; err == nil {
		e.last, r.token = token, config.NewSecret(token.AccessToken)
	}
	e.asking = nil
	close(r.answered)
}

func (e *endpoint) ask() (*oauth2.Token, error) {
	secret, err := config.ReadSecret(e.ClientSecret, e.ClientSecretFile)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithValue(e.life, oauth2.HTTPClient, e.client), tokenTimeout)
	defer cancel()
	ask := clientcredentials.Config{ClientID: e.ClientID, ClientSecret: secret.Reveal(), TokenURL: e.TokenURL, Scopes: e.Scopes}
	token, err := ask.Token(ctx)
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer):
		return nil, refused(fmt.Sprintf("the token endpoint answers %d to the client's credentials", answer.Response.StatusCode))
	case err != nil:
		return nil, fmt.Errorf("ask for a token: %w", err)
	}
	return token, nil
}

func (e *endpoint) close() {
	e.mu.Lock()
	e.end()
	r := e.asking
	e.mu.Unlock()
	if r != nil {
		<-r.answered
	}
}

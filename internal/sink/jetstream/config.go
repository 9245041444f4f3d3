package jetstream

import (
	"crypto/tls"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/sink"
)

// Config is the nats section of a sink. What has a default here need not be given.
type Config struct {
	// URL names the servers, "nats://a:4222,nats://b:4222"; schemes nats, tls, ws, wss. Without credentials: they have their own keys.
	URL string `yaml:"url"`
	// Embedded runs a server inside the bridge instead, for demonstrations and evaluation.
	Embedded *Embedded `yaml:"embedded"`

	// Stream is the stream's name. It is created when it does not exist; an existing one is verified and never changed.
	Stream string `yaml:"stream"`
	// Subject is the subject template, see sink.Route; default sink.DefaultRoute.
	Subject string `yaml:"subject"`
	// Mode is the CloudEvents content mode, "structured" (default) or "binary".
	Mode string `yaml:"mode"`
	// AckTimeout is how long the server may take to confirm an event before it is sent again; 100 ms to 1 min, default 5 s.
	AckTimeout config.Duration `yaml:"ack_timeout"`

	// Replicas of a created stream, 1 to 5, default 1. An existing stream needs at least as many.
	Replicas int `yaml:"replicas"`
	// MaxAge of events in a created stream, default 7 d; 0: no limit.
	MaxAge config.Duration `yaml:"max_age"`
	// MaxBytes of a created stream, default 0: no limit. Beyond it the server drops the oldest events.
	MaxBytes config.Size `yaml:"max_bytes"`
	// DuplicateWindow is how long the server recognises a repeat by its id, 1 s to 1 d, default 2 min. An existing stream needs at least as much.
	DuplicateWindow config.Duration `yaml:"duplicate_window"`

	// At most one way of authentication: user with password, token, nkey_file, creds_file. Files are read at every connect, so a
	// rotated secret is used from the next connect on.
	User         string        `yaml:"user"`
	Password     config.Secret `yaml:"password"`
	PasswordFile config.Path   `yaml:"password_file"`
	Token        config.Secret `yaml:"token"`
	TokenFile    config.Path   `yaml:"token_file"`
	NkeyFile     config.Path   `yaml:"nkey_file"`  // the user's seed, SU…
	CredsFile    config.Path   `yaml:"creds_file"` // JWT and seed, as nsc writes them
	TLS          *TLS          `yaml:"tls"`
	// InboxPrefix is where the server's answers come in, default _INBOX. Accounts that isolate users by inbox name their own.
	InboxPrefix string `yaml:"inbox_prefix"`
}

// TLS makes the connection use TLS whatever the URL's scheme. The server's certificate is always verified.
type TLS struct {
	CAFile     config.Path `yaml:"ca_file"` // PEM; default: the system's
	CertFile   config.Path `yaml:"cert_file"`
	KeyFile    config.Path `yaml:"key_file"`
	ServerName string      `yaml:"server_name"` // to be found in the certificate; default: the URL's host
}

// Embedded is a nats-server in the bridge's process, see package embedded.
type Embedded struct {
	Dir  config.Path `yaml:"dir"`
	Port int         `yaml:"port"` // on 127.0.0.1; 0: any free one
}

// The content modes of CloudEvents.
const (
	Structured = "structured"
	Binary     = "binary"
)

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() {
	*c = Config{
		Subject: sink.DefaultRoute, Mode: Structured, AckTimeout: config.Duration(5 * time.Second), Replicas: 1,
		MaxAge: config.Duration(7 * 24 * time.Hour), DuplicateWindow: config.Duration(2 * time.Minute), InboxPrefix: "_INBOX",
	}
}

var (
	// streamName is what a JetStream server takes (JetStream docs, "Naming"), without control and non-ASCII characters.
	streamName  = regexp.MustCompile(`^[!-)+\-0-=?-\[\]-~]{1,255}$`)
	inboxPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var ps config.Problems
	switch {
	case c.URL == "" && c.Embedded == nil:
		ps.Add("url", "missing", "nats://host:4222, or embedded with a dir")
	case c.URL != "" && c.Embedded != nil:
		ps.Add("embedded", "set together with url", "one of the two")
	case c.URL != "":
		checkURL(&ps, c.URL)
	default:
		ps.Required("embedded.dir", string(c.Embedded.Dir), "a folder for the server's data")
		config.Between(&ps, "embedded.port", c.Embedded.Port, 0, 65535)
		config.Between(&ps, "replicas", c.Replicas, 1, 1)
	}
	ps.Match("stream", c.Stream, streamName, "up to 255 printable ASCII characters other than space . * > / \\")
	if _, err := sink.ParseRoute(c.Subject); err != nil {
		ps.Add("subject", err.Error(), sink.RouteAllowed)
	}
	ps.OneOf("mode", c.Mode, Structured, Binary)
	config.Between(&ps, "ack_timeout", c.AckTimeout, config.Duration(100*time.Millisecond), config.Duration(time.Minute))
	if c.Embedded == nil {
		config.Between(&ps, "replicas", c.Replicas, 1, 5)
	}
	config.Between(&ps, "duplicate_window", c.DuplicateWindow, config.Duration(time.Second), config.Duration(24*time.Hour))
	if c.MaxAge != 0 && c.MaxAge < c.DuplicateWindow {
		ps.Add("max_age", "shorter than duplicate_window", "0 for no limit, or at least duplicate_window")
	}
	ps.Match("inbox_prefix", c.InboxPrefix, inboxPrefix, "tokens of letters, digits, - and _ joined by dots")
	c.validateAuth(&ps)
	return ps.Err()
}

// checkURL never quotes the URL: it may hold a password.
func checkURL(ps *config.Problems, list string) {
	const allowed = "nats://host:4222 (or tls, ws, wss), several joined by commas; credentials under user and password_file, token_file, nkey_file or creds_file"
	for _, one := range strings.Split(list, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			ps.Add("url", "not a server's URL", allowed)
		case u.User != nil:
			ps.Add("url", "holds credentials", allowed)
		}
	}
}

func (c *Config) validateAuth(ps *config.Problems) {
	ps.OptionalSecret("token", c.Token, c.TokenFile)
	password := !c.Password.IsZero() || c.PasswordFile != ""
	switch {
	case c.User != "":
		ps.RequireSecret("password", c.Password, c.PasswordFile)
	case password:
		ps.Add("user", "missing", "the user whose password is given")
	}
	ways := 0
	for _, used := range []bool{c.User != "" || password, !c.Token.IsZero() || c.TokenFile != "", c.NkeyFile != "", c.CredsFile != ""} {
		if used {
			ways++
		}
	}
	if ways > 1 {
		ps.Add("", "several ways of authentication", "at most one of user, token, nkey_file, creds_file")
	}
	if c.TLS != nil && (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		ps.Add("tls", "cert_file or key_file alone", "both or none")
	}
}

// options turns the configuration into the client's options and reads every file once, so that a wrong path is known at start. failed is
// told when a secret file cannot be read at a later connect.
func (c *Config) options(failed func(error)) (nats.Options, error) {
	o := nats.GetDefaultOptions()
	for _, u := range strings.Split(c.URL, ",") {
		o.Servers = append(o.Servers, strings.TrimSpace(u))
	}
	set := []nats.Option{nats.Name("taskbridge"), nats.CustomInboxPrefix(c.InboxPrefix)}
	checked := map[string]config.Path{} // secrets that the client library reads, by their key
	switch {
	case c.User != "":
		if _, err := config.ReadSecret(c.Password, c.PasswordFile); err != nil {
			return o, unreadable("password_file", err)
		}
		set = append(set, nats.UserInfoHandler(func() (string, string) { return c.User, reread(c.Password, c.PasswordFile, failed) }))
	case !c.Token.IsZero() || c.TokenFile != "":
		if _, err := config.ReadSecret(c.Token, c.TokenFile); err != nil {
			return o, unreadable("token_file", err)
		}
		set = append(set, nats.TokenHandler(func() string { return reread(c.Token, c.TokenFile, failed) }))
	case c.NkeyFile != "":
		option, err := nats.NkeyOptionFromSeed(string(c.NkeyFile))
		if err != nil {
			// The library's error may quote the seed.
			return o, config.Problem{Path: "nkey_file", What: "not a user's nkey seed", Allowed: "a file with the seed, SU…, of a user"}
		}
		set = append(set, option)
		checked["nkey_file"] = c.NkeyFile
	case c.CredsFile != "":
		set = append(set, nats.UserCredentials(string(c.CredsFile)))
		checked["creds_file"] = c.CredsFile
	}
	if t := c.TLS; t != nil {
		set = append(set, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}))
		if t.CAFile != "" {
			set = append(set, nats.RootCAs(string(t.CAFile)))
		}
		if t.CertFile != "" {
			set = append(set, nats.ClientCert(string(t.CertFile), string(t.KeyFile)))
			checked["tls.key_file"] = t.KeyFile
		}
	}
	for key, file := range checked {
		if _, err := config.ReadSecret(config.Secret{}, file); err != nil {
			return o, unreadable(key, err)
		}
	}
	var errs []error
	for _, option := range set {
		errs = append(errs, option(&o))
	}
	return o, errors.Join(errs...)
}

func unreadable(key string, err error) error {
	return config.Problem{Path: key, What: err.Error(), Allowed: config.SecretFileAllowed}
}

// reread is the secret as it is now; empty, and refused by the server, when its file cannot be read.
func reread(value config.Secret, file config.Path, failed func(error)) string {
	s, err := config.ReadSecret(value, file)
	if err != nil {
		failed(err)
	}
	return s.Reveal()
}

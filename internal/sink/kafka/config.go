package kafka

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/segmentio/kafka-go/compress"

	"github.com/taskbridge/taskbridge/internal/config"
)

// Config is the kafka section of a sink. What has a default here need not be given.
type Config struct {
	// Brokers are where to begin, "host:9092"; the others are learned from them.
	Brokers []string `yaml:"brokers"`
	// Topic is the topic, or a template of topics' names with {provider} and {account}; default "taskbridge".
	Topic string `yaml:"topic"`
	// Mode is the CloudEvents content mode, "structured" (default) or "binary".
	Mode string `yaml:"mode"`
	// Compression of batches: none (default), gzip, snappy, lz4, zstd.
	Compression string `yaml:"compression"`

	// Create creates topics that are missing; default false: they must be there. An existing one is verified and never changed.
	Create bool `yaml:"create"`
	// Partitions of a created topic, default 12; an existing one needs at least as many as are given.
	Partitions int `yaml:"partitions"`
	// Replication is the number of replicas of a created topic, default the cluster's; an existing one needs at least as many as are given.
	Replication int `yaml:"replication"`
	// TopicConfig are settings of a created topic, "retention.ms: 604800000".
	TopicConfig map[string]string `yaml:"topic_config"`

	// RequestTimeout is how long a broker may take to answer, 500 ms to 1 min, default 3 s. Half of it is for the replicas.
	RequestTimeout config.Duration `yaml:"request_timeout"`
	// DialTimeout is how long a connection may take with TLS and SASL, 100 ms to 30 s, default 1 s. A token endpoint has 10 s of its own.
	DialTimeout config.Duration `yaml:"dial_timeout"`
	// MaxInFlight is how many batches are out at a time, one per partition; each needs a connection and some 2 MB. 1 to 1024, default 64.
	MaxInFlight int `yaml:"max_in_flight"`
	// ClientID is how the bridge calls itself to the brokers, in their logs and quotas; default "taskbridge".
	ClientID string `yaml:"client_id"`

	TLS  *TLS  `yaml:"tls"`
	SASL *SASL `yaml:"sasl"`
}

// TLS encrypts the connections. The brokers' certificates are always verified.
type TLS struct {
	CAFile     config.Path `yaml:"ca_file"`   // PEM; default: the system's
	CertFile   config.Path `yaml:"cert_file"` // of the bridge, PEM; read again at every connect, as is its key
	KeyFile    config.Path `yaml:"key_file"`
	ServerName string      `yaml:"server_name"` // to be found in every broker's certificate; default: the broker's host
}

// SASL is how the bridge proves who it is. Secrets in files are read again at every connect.
type SASL struct {
	// Mechanism is one of plain, scram-sha-256, scram-sha-512, oauthbearer. Without TLS, plain and oauthbearer send the secret in clear text.
	Mechanism string `yaml:"mechanism"`

	// For plain and scram.
	User         string        `yaml:"user"`
	Password     config.Secret `yaml:"password"`
	PasswordFile config.Path   `yaml:"password_file"`

	// For oauthbearer: a file with a token that something else renews, or an endpoint that gives tokens for client credentials (RFC 6749, section 4.4).
	TokenFile        config.Path   `yaml:"token_file"`
	TokenURL         string        `yaml:"token_url"`
	ClientID         string        `yaml:"client_id"`
	ClientSecret     config.Secret `yaml:"client_secret"`
	ClientSecretFile config.Path   `yaml:"client_secret_file"`
	Scopes           []string      `yaml:"scopes"`
}

// The content modes of CloudEvents.
const (
	Structured = "structured"
	Binary     = "binary"
)

// The mechanisms of SASL.
const (
	mechanismPlain    = "plain"
	mechanismScram256 = "scram-sha-256"
	mechanismScram512 = "scram-sha-512"
	mechanismOAuth    = "oauthbearer"
)

var compressions = map[string]compress.Compression{
	"none": compress.None, "gzip": compress.Gzip, "snappy": compress.Snappy, "lz4": compress.Lz4, "zstd": compress.Zstd,
}

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() {
	*c = Config{
		Topic: "taskbridge", Mode: Structured, Compression: "none", RequestTimeout: config.Duration(3 * time.Second),
		DialTimeout: config.Duration(time.Second), MaxInFlight: 64, ClientID: "taskbridge",
	}
}

// partitions is how many a created topic gets.
func (c *Config) partitions() int { return cmp.Or(c.Partitions, 12) }

var clientID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var ps config.Problems
	if len(c.Brokers) == 0 {
		ps.Add("brokers", "missing", "a list of host:port")
	}
	for i, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			ps.Add(fmt.Sprintf("brokers[%d]", i), "not an address", "host:port, without a scheme")
		}
	}
	if err := checkTopic(c.Topic); err != nil {
		ps.Add("topic", err.Error(), TopicAllowed)
	}
	ps.OneOf("mode", c.Mode, Structured, Binary)
	ps.OneOf("compression", c.Compression, "none", "gzip", "snappy", "lz4", "zstd")
	config.Between(&ps, "partitions", c.Partitions, 0, 10_000)
	config.Between(&ps, "replication", c.Replication, 0, 100)
	if !c.Create && len(c.TopicConfig) > 0 {
		ps.Add("topic_config", "set without create", "create: true; settings of an existing topic are never changed")
	}
	config.Between(&ps, "request_timeout", c.RequestTimeout, config.Duration(500*time.Millisecond), config.Duration(time.Minute))
	config.Between(&ps, "dial_timeout", c.DialTimeout, config.Duration(100*time.Millisecond), config.Duration(30*time.Second))
	config.Between(&ps, "max_in_flight", c.MaxInFlight, 1, 1024)
	ps.Match("client_id", c.ClientID, clientID, "1 to 255 letters, digits, . _ and -")
	if c.TLS != nil && (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		ps.Add("tls", "cert_file or key_file alone", "both or none")
	}
	return ps.Err()
}

// Validate implements config.Validator.
func (c *SASL) Validate() error {
	var ps config.Problems
	ps.OneOf("mechanism", c.Mechanism, mechanismPlain, mechanismScram256, mechanismScram512, mechanismOAuth)
	password := !c.Password.IsZero() || c.PasswordFile != ""
	client := c.ClientID != "" || !c.ClientSecret.IsZero() || c.ClientSecretFile != "" || len(c.Scopes) > 0
	if c.Mechanism != mechanismOAuth {
		ps.Required("user", c.User, "the user's name")
		ps.RequireSecret("password", c.Password, c.PasswordFile)
		if c.TokenFile != "" || c.TokenURL != "" || client {
			ps.Add("mechanism", "not the one that the other keys are for", mechanismOAuth)
		}
		return ps.Err()
	}
	if c.User != "" || password {
		ps.Add("user", "set with oauthbearer", "token_file, or token_url with client_id and client_secret_file")
	}
	switch {
	case (c.TokenFile == "") == (c.TokenURL == ""):
		ps.Add("token_file", "token_file and token_url: not exactly one", "one of the two")
	case c.TokenURL != "":
		if !slices.Contains([]string{"http", "https"}, scheme(c.TokenURL)) {
			ps.Add("token_url", "not a URL, or one with credentials", "https://host/path")
		}
		ps.Required("client_id", c.ClientID, "the client's id")
		ps.RequireSecret("client_secret", c.ClientSecret, c.ClientSecretFile)
	case client:
		ps.Add("client_id", "set with token_file", "only with token_url")
	}
	return ps.Err()
}

// scheme of an address that has a host and no credentials; empty for others.
func scheme(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return ""
	}
	return u.Scheme
}

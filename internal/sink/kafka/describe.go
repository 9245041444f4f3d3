package kafka

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Describe says, a line each, how the sink connects and what becomes of topics that are missing. It is for people and has no secrets.
func (c *Config) Describe() []string {
	encryption := "no TLS"
	if c.TLS != nil {
		encryption = "TLS, authorities: " + cmp.Or(string(c.TLS.CAFile), "the system's")
		if c.TLS.CertFile != "" {
			encryption += ", certificate: " + string(c.TLS.CertFile)
		}
		if c.TLS.ServerName != "" {
			encryption += ", server name: " + c.TLS.ServerName
		}
	}
	login := "no SASL"
	if c.SASL != nil {
		login = "SASL " + c.SASL.Mechanism + " " + c.SASL.describe()
	}
	return []string{
		fmt.Sprintf("%s; %s; compression: %s", encryption, login, c.Compression),
		c.describeTopics(),
	}
}

func (c *SASL) describe() string {
	switch {
	case c.Mechanism != mechanismOAuth:
		return "as " + c.User
	case c.TokenFile != "":
		return "with the token in " + string(c.TokenFile)
	}
	u, err := url.Parse(c.TokenURL)
	if err != nil { // it is not valid
		return "as " + c.ClientID
	}
	return fmt.Sprintf("as %s with tokens of %s://%s%s", c.ClientID, u.Scheme, u.Host, u.Path) // a query may hold what is secret
}

func (c *Config) describeTopics() string {
	if !c.Create {
		return "topics have to be there"
	}
	replicas := "as many replicas as the cluster's default"
	if c.Replication > 0 {
		replicas = fmt.Sprintf("%d replicas", c.Replication)
	}
	text := fmt.Sprintf("topics that are missing are created with %d partitions, %s", c.partitions(), replicas)
	for _, name := range slices.Sorted(maps.Keys(c.TopicConfig)) {
		text += ", " + name + "=" + c.TopicConfig[name]
	}
	return text
}

// ClearText says, a line each, which secrets would leave this machine in clear text.
func (c *Config) ClearText() (warnings []string) {
	if c.SASL == nil {
		return nil
	}
	away := slices.ContainsFunc(c.Brokers, func(b string) bool {
		host, _, _ := net.SplitHostPort(b)
		return !loopback(host)
	})
	if c.TLS == nil && away && slices.Contains([]string{mechanismPlain, mechanismOAuth}, c.SASL.Mechanism) {
		warnings = append(warnings, fmt.Sprintf("sasl.mechanism %s without tls: the secret travels in clear text to the brokers; set tls, or use scram-sha-512", c.SASL.Mechanism))
	}
	if u, err := url.Parse(c.SASL.TokenURL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		warnings = append(warnings, "sasl.token_url is http: the client's secret and the tokens travel in clear text; use https")
	}
	return warnings
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

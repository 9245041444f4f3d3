package kafka

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/config"
)

func TestDescribe(t *testing.T) {
	secret := config.NewSecret(canary)
	for _, tt := range []struct {
		change func(*Config)
		want   []string
	}{
		{func(*Config) {}, []string{"no TLS; no SASL; compression: none", "topics have to be there"}},
		{
			func(c *Config) { c.TLS, c.Compression, c.Create = &TLS{}, "zstd", true },
			[]string{"TLS, authorities: the system's; no SASL; compression: zstd", "topics that are missing are created with 12 partitions, as many replicas as the cluster's default"},
		},
		{
			func(c *Config) {
				c.TLS = &TLS{CAFile: "/ca.pem", CertFile: "/cert.pem", KeyFile: "/key.pem", ServerName: "broker"}
				c.SASL = &SASL{Mechanism: "scram-sha-512", User: "bridge", Password: secret}
				c.Create, c.Partitions, c.Replication, c.TopicConfig = true, 5, 3, map[string]string{"retention.ms": "1000", "min.insync.replicas": "2"}
			},
			[]string{
				"TLS, authorities: /ca.pem, certificate: /cert.pem, server name: broker; SASL scram-sha-512 as bridge; compression: none",
				"topics that are missing are created with 5 partitions, 3 replicas, min.insync.replicas=2, retention.ms=1000",
			},
		},
		{
			func(c *Config) { c.SASL = &SASL{Mechanism: "oauthbearer", TokenFile: "/token"} },
			[]string{"no TLS; SASL oauthbearer with the token in /token; compression: none", "topics have to be there"},
		},
		{
			func(c *Config) {
				c.SASL = &SASL{Mechanism: "oauthbearer", TokenURL: "https://login.example.org/token?key=" + canary, ClientID: "bridge", ClientSecret: secret}
			},
			[]string{"no TLS; SASL oauthbearer as bridge with tokens of https://login.example.org/token; compression: none", "topics have to be there"},
		},
	} {
		var c Config
		c.SetDefaults()
		tt.change(&c)
		got := c.Describe()
		if diff := cmp.Diff(tt.want, got); diff != "" || strings.Contains(fmt.Sprint(got), canary) {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestClearText(t *testing.T) {
	away, here := []string{"127.0.0.1:9092", "kafka.example.org:9092"}, []string{"127.0.0.1:9092", "[::1]:9092", "localhost:9092"}
	for _, tt := range []struct {
		brokers []string
		tls     *TLS
		sasl    *SASL
		want    string // what the only warning begins with
	}{
		{away, nil, nil, ""},
		{away, nil, &SASL{Mechanism: "plain"}, "sasl.mechanism plain without tls"},
		{away, nil, &SASL{Mechanism: "oauthbearer", TokenFile: "f"}, "sasl.mechanism oauthbearer without tls"},
		{away, nil, &SASL{Mechanism: "scram-sha-256"}, ""},
		{away, &TLS{}, &SASL{Mechanism: "plain"}, ""},
		{here, nil, &SASL{Mechanism: "plain"}, ""},
		{away, &TLS{}, &SASL{Mechanism: "oauthbearer", TokenURL: "http://login.example.org/token"}, "sasl.token_url is http"},
		{away, &TLS{}, &SASL{Mechanism: "oauthbearer", TokenURL: "https://login.example.org/token"}, ""},
		{here, nil, &SASL{Mechanism: "oauthbearer", TokenURL: "http://127.0.0.1:8080/token"}, ""},
	} {
		c := Config{Brokers: tt.brokers, TLS: tt.tls, SASL: tt.sasl}
		got := c.ClearText()
		if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tt.want)) {
			t.Errorf("%v, %+v, %+v: got %q, want %q", tt.brokers, tt.tls, tt.sasl, got, tt.want)
		}
	}
}

package kafka

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// quoting is a broker that refuses every login and quotes what it was given.
func quoting(t *testing.T) *cluster {
	t.Helper()
	c := startCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "facts"), kfake.EnableSASL())
	c.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return r.ResponseKind(), nil, true
	})
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		said := "who says " + string(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		answer.ErrorMessage = &said
		return answer, nil, true
	})
	return c
}

// TestNoSecretIsTold: no secret is in an error, in the log at any level, in what Ready says, in a metric or in a printed configuration, whatever the other side says.
func TestNoSecretIsTold(t *testing.T) {
	a := newAuthority(t)
	_, certFile, keyFile := a.pair()
	_, _, foreignKey := newAuthority(t).pair()
	key, err := os.ReadFile(string(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		tls  *TLS
		sasl *SASL
	}{
		"password":                   {sasl: &SASL{Mechanism: "plain", User: "bridge", Password: config.NewSecret(canary)}},
		"password in a file":         {sasl: &SASL{Mechanism: "plain", User: "bridge", PasswordFile: secretFile(t, canary)}},
		"scram":                      {sasl: &SASL{Mechanism: "scram-sha-256", User: "bridge", Password: config.NewSecret(canary)}},
		"what scram does not allow":  {sasl: &SASL{Mechanism: "scram-sha-512", User: "bridge", Password: config.NewSecret(canary + "\x00")}},
		"token in a file":            {sasl: &SASL{Mechanism: "oauthbearer", TokenFile: secretFile(t, canary)}},
		"token of an endpoint":       {sasl: tokenEndpoint(t, http.StatusOK)},
		"refused by the endpoint":    {sasl: tokenEndpoint(t, http.StatusUnauthorized)},
		"key of a certificate":       {tls: &TLS{CAFile: a.file, CertFile: certFile, KeyFile: keyFile}},
		"key of another certificate": {tls: &TLS{CAFile: a.file, CertFile: certFile, KeyFile: foreignKey}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(quoting(t))
			cfg.TLS, cfg.SASL = tt.tls, tt.sasl
			if tt.tls != nil {
				cfg.Brokers = []string{accept(t, hangUp)}
			}
			var log sinktest.Lines
			reg := prometheus.NewRegistry()
			s, err := New(cfg, nil, log.Logger(), reg)
			said := fmt.Sprintf("%v %+v %+v %+v", err, cfg, cfg.TLS, cfg.SASL)
			if err == nil {
				sinktest.Connect(t, s)
				err = s.Open(t.Context())
				metrics, _ := reg.Gather()
				said += fmt.Sprint(err, s.Ready(), log.String(), metrics)
				if reason := retry.ReasonOf(err); reason != "authentication" && tt.tls == nil && name != "what scram does not allow" {
					t.Errorf("got %v", err)
				}
			}
			if err == nil {
				t.Error("got success")
			}
			for _, secret := range []string{canary, strings.Split(string(key), "\n")[1]} {
				if strings.Contains(said, secret) {
					t.Errorf("the secret is in: %s", said)
				}
			}
		})
	}
}

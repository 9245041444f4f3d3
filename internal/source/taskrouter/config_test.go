package taskrouter

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty: none
	}{
		{"defaults", func(*Config) {}, ""},
		{"whole day", func(c *Config) { c.TokenLifetime = config.Duration(24 * time.Hour) }, ""},
		{"account", func(c *Config) { c.Account = "AC1" }, "account: not valid; allowed: AC followed by 32 hex digits"},
		{"workspace", func(c *Config) { c.Workspace = "" }, "workspace: missing"},
		{"key", func(c *Config) { c.APIKey = testAccount }, "api_key: not valid"},
		{"no secret", func(c *Config) { c.APISecret = config.Secret{} }, "api_secret: missing"},
		{"two secrets", func(c *Config) { c.APISecretFile = "x" }, "api_secret: set together with api_secret_file"},
		{"region", func(c *Config) { c.EventBridgeURL, c.Region = "", "evil.example/" }, "region: not valid"},
		{"region and URL", func(c *Config) { c.Region = "ie1" }, "event_bridge_url: set together with region"},
		{"scheme", func(c *Config) { c.EventBridgeURL = "wss://h/p" }, "event_bridge_url: not valid; allowed: an absolute http or https URL"},
		{"path", func(c *Config) { c.EventBridgeURL = "https://h" }, "event_bridge_url: not valid"},
		{"query", func(c *Config) { c.EventBridgeURL = "https://h/p?x=1" }, "event_bridge_url: not valid"},
		{"password", func(c *Config) { c.EventBridgeURL = "https://u:p@h/p" }, "event_bridge_url: not valid"},
		{"version", func(c *Config) { c.ClientVersion = "2&token=x" }, "client_version: not valid"},
		{"life too long", func(c *Config) { c.TokenLifetime = config.Duration(25 * time.Hour) }, "token_lifetime: out of range; allowed: 10s to 1d"},
		{"life too short", func(c *Config) { c.TokenLifetime = config.Duration(time.Second) }, "token_lifetime: out of range"},
		{"no timeout", func(c *Config) { c.InitTimeout = 0 }, "init_timeout: out of range"},
		{"REST scheme", func(c *Config) { c.TaskRouterURL = "ftp://h/v1" }, "taskrouter_url: not valid; allowed: an absolute http or https URL"},
		{"REST rate", func(c *Config) { c.RESTRate = 0 }, "rest_rate: out of range; allowed: 0.1 to 100"},
		{"cap", func(c *Config) { c.FrameCap = 1 << 40 }, "frame_cap: out of range; allowed: 1KiB to 64MiB"},
	}
	for _, test := range tests {
		cfg := testConfig("http://127.0.0.1")
		test.change(&cfg)
		_, err := New(cfg, zap.NewNop(), nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
	want := source.Agent{
		ID: testWorker, Provider: "twilio", URI: "/twilio/taskrouter/" + testAccount + "/" + testWorkspace, Account: testAccount, Site: testWorkspace,
	}
	if diff := cmp.Diff(want, testConfig("").Agent(testWorker)); diff != "" {
		t.Errorf("agent (-want +got):\n%s", diff)
	}
}

func TestURLs(t *testing.T) {
	tests := []struct{ region, url, wantPost, wantSocket string }{
		{"", "", "https://event-bridge.twilio.com/v1/wschannels", "wss://event-bridge.twilio.com/v1/wschannels"},
		{"us1", "", "https://event-bridge.twilio.com/v1/wschannels", "wss://event-bridge.twilio.com/v1/wschannels"},
		{"ie1", "", "https://event-bridge.ie1.twilio.com/v1/wschannels", "wss://event-bridge.ie1.twilio.com/v1/wschannels"},
		{"", "http://127.0.0.1:8/x", "http://127.0.0.1:8/x", "ws://127.0.0.1:8/x"},
	}
	for _, test := range tests {
		s := newSource(t, "", func(c *Config) { c.Region, c.EventBridgeURL = test.region, test.url })
		wantSocket := test.wantSocket + "?token=T&closeExistingSessions=false&clientVersion=2.1.1&setWorkerOfflineIfDisconnected=false"
		if s.base.String() != test.wantPost || s.socketURL("T") != wantSocket {
			t.Errorf("region %q, URL %q: got %s and %s, want %s and %s", test.region, test.url, s.base, s.socketURL("T"), test.wantPost, wantSocket)
		}
	}
}

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	s := newSource(t, "", func(c *Config) {
		c.APISecret, c.APISecretFile = config.Secret{}, config.Path(file)
		c.EventBridgeURL, c.Region = "", "ie1"
	})
	write("second") // used without a restart
	now := time.Unix(1767323045, 999_000_000)
	tok, err := s.mint(testWorker, now)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(1767323045+3600, 0); !tok.expires.Equal(want) {
		t.Errorf("got expiry %v, want %v", tok.expires, want)
	}
	verify := func(secret string) error {
		_, err := jwt.Parse(tok.text, func(*jwt.Token) (any, error) { return []byte(secret), nil }, jwt.WithTimeFunc(func() time.Time { return now }))
		return err
	}
	if verify("second") != nil || verify("first") == nil {
		t.Errorf("got %v with the new secret and %v with the old, want only the new accepted", verify("second"), verify("first"))
	}
	parts := strings.Split(tok.text, ".")
	want := []string{
		`{"alg":"HS256","cty":"twilio-fpa;v=1","twr":"ie1","typ":"JWT"}`,
		`{"iss":"SK00000000000000000000000000000001","sub":"` + testAccount + `","exp":1767326645,"iat":1767323045,` +
			`"jti":"SK00000000000000000000000000000001-1767323045","grants":{"identity":"taskbridge","task_router":{"workspace_sid":"` +
			testWorkspace + `","worker_sid":"` + testWorker + `","role":"worker"}}}`,
	}
	for i := range want {
		if got, err := base64.RawURLEncoding.DecodeString(parts[i]); err != nil || string(got) != want[i] {
			t.Errorf("got part %s (%v), want %s", got, err, want[i])
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.mint(testWorker, now); err == nil {
		t.Error("got a token without a secret")
	}
}

func TestLifeLeft(t *testing.T) {
	since := time.Now()
	tok := token{expires: since.Add(time.Hour)}
	for vendor, want := range map[int64]time.Duration{
		3_566_253: 3_566_253 * time.Millisecond, 1: time.Millisecond, 7_200_000: 2 * time.Hour,
		0: time.Hour, -5: time.Hour, 7_200_001: time.Hour, 1 << 62: time.Hour,
	} {
		if got := tok.lifeLeft(since, vendor, 2*time.Hour); got != want {
			t.Errorf("%d ms: got %v, want %v", vendor, got, want)
		}
	}
	if got := tok.lifeLeft(since.Add(2*time.Hour), 0, time.Hour); got != 0 {
		t.Errorf("after its end: got %v, want 0", got)
	}
}

func TestMetrics(t *testing.T) {
	v := startVendor(t)
	reg := prometheus.NewRegistry()
	s := newSource(t, v.URL)
	s.metrics = NewMetrics(reg)
	x := sourcetest.Start(t, s, *s.testAgent())
	x.WaitBody(initFrame)
	for route, class := range map[string]string{"upgrade": "1xx", "worker": "2xx", "reservations": "2xx"} {
		if got := testutil.ToFloat64(s.metrics.requests.WithLabelValues(route, class)); got != 1 {
			t.Errorf("%s %s: got %v requests, want 1", route, class, got)
		}
	}
	if got := testutil.ToFloat64(s.metrics.minted); got != 1 {
		t.Errorf("got %v tokens minted, want 1", got)
	}
	if got, want := testutil.CollectAndCount(reg), len(routes)*(len(codeClasses)+1)+3; got != want {
		t.Errorf("got %d series, want %d: all made at the start, none beside them", got, want)
	}
}

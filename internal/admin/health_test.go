package admin_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves until the test's end, or until stop is called; either way Serve has returned then.
func start(t *testing.T, p admin.Probes) (url string, stop func() error) {
	t.Helper()
	h, err := admin.ListenHealth(admin.HealthConfig{Listen: "127.0.0.1:0"}, p, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, h)
}

func serve(t *testing.T, s *admin.Server) (url string, stop func() error) {
	return serveUntil(t, s, nil)
}

func serveUntil(t *testing.T, s *admin.Server, abort <-chan struct{}) (url string, stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var served error
	go func() {
		served = s.Serve(ctx, abort)
		close(done)
	}()
	stop = func() error {
		cancel()
		<-done
		return served
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + s.Address(), stop
}

func probes() admin.Probes {
	return admin.Probes{Alive: func() {}, Reasons: func() []admin.Reason { return nil }, Metrics: prometheus.NewRegistry()}
}

// client keeps no connection: an idle one would look like a leak.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestReady(t *testing.T) {
	for name, test := range map[string]struct {
		reasons []admin.Reason
		status  int
		body    string
	}{
		"nothing to say": {nil, 200, `{"ready":true,"reasons":[]}`},
		"a note":         {[]admin.Reason{{Code: "raw_payloads", Count: 1, Note: true}}, 200, `{"ready":true,"reasons":[{"code":"raw_payloads","count":1,"note":true}]}`},
		"not ready": {
			[]admin.Reason{{Code: "open_gaps", Count: 2, Note: true}, {Code: "no_live_session", Count: 3}},
			503,
			`{"ready":false,"reasons":[{"code":"open_gaps","count":2,"note":true},{"code":"no_live_session","count":3,"note":false}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := probes()
			p.Reasons = func() []admin.Reason { return test.reasons }
			url, _ := start(t, p)
			status, body := get(t, http.MethodGet, url+"/readyz")
			if status != test.status {
				t.Errorf("got status %d, want %d", status, test.status)
			}
			if diff := cmp.Diff(test.body+"\n", body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// A process whose readiness is bad is alive all the same; one that is stuck does not answer.
func TestAliveWaitsForTheLoopAlone(t *testing.T) {
	p := probes()
	p.Reasons = func() []admin.Reason { return []admin.Reason{{Code: "sink_disconnected", Count: 1}} }
	asked, turn := make(chan struct{}), make(chan struct{})
	p.Alive = func() { close(asked); <-turn }
	url, _ := start(t, p)
	answered := make(chan int)
	go func() {
		status, _ := get(t, http.MethodGet, url+"/livez")
		answered <- status
	}()
	<-asked
	select {
	case <-answered:
		t.Error("/livez answered before the loop turned")
	default:
	}
	close(turn)
	if got := <-answered; got != 200 {
		t.Errorf("got status %d, want 200", got)
	}
}

func TestMetricsAndRoutes(t *testing.T) {
	p := probes()
	reg := prometheus.NewRegistry()
	frames := prometheus.NewCounter(prometheus.CounterOpts{Name: "frames_total", Help: "Frames."})
	frames.Add(3)
	reg.MustRegister(frames)
	p.Metrics = reg
	url, _ := start(t, p)
	if status, body := get(t, http.MethodGet, url+"/metrics"); status != 200 || !strings.Contains(body, "frames_total 3\n") {
		t.Errorf("got status %d and %q, want the counter", status, body)
	}
	if status, _ := get(t, http.MethodPost, url+"/readyz"); status != 405 {
		t.Errorf("POST: got status %d, want 405", status)
	}
	if status, _ := get(t, http.MethodGet, url+"/debug/pprof/"); status != 404 {
		t.Errorf("pprof: got status %d, want 404", status)
	}
}

// What is under way when the process stops is answered: a probe of the last moment is no connection reset.
func TestStopAnswersWhatIsUnderWay(t *testing.T) {
	p := probes()
	asked, turn := make(chan struct{}), make(chan struct{})
	p.Alive = func() { close(asked); <-turn }
	url, stop := start(t, p)
	answered := make(chan int)
	go func() {
		status, _ := get(t, http.MethodGet, url+"/livez")
		answered <- status
	}()
	<-asked
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	close(turn)
	if got := <-answered; got != 200 {
		t.Errorf("got status %d, want 200", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		_ = conn.Close()
		t.Error("the listener is still open")
	}
}

func TestAddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, err = admin.ListenHealth(admin.HealthConfig{Listen: listener.Addr().String()}, probes(), zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "set health.listen to a free address") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

func TestConfig(t *testing.T) {
	var c admin.HealthConfig
	c.SetDefaults()
	if err := config.Validate(&c); err != nil || c.Listen != "127.0.0.1:8080" {
		t.Errorf("default: got %q, %v", c.Listen, err)
	}
	for _, listen := range []string{"", "8080", "localhost", "127.0.0.1:99999", "http://127.0.0.1:8080"} {
		c.Listen = listen
		if err := config.Validate(&c); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("%q: got %v, want an error that shows the form", listen, err)
		}
	}
}

func TestFloor(t *testing.T) {
	for _, test := range []struct {
		text       string
		agents, of int
	}{
		{"0", 10, 0},
		{"3", 10, 3},
		{"30", 10, 10}, // no more than there are
		{"0%", 10, 0},
		{"50%", 10, 5},
		{"50%", 1, 1},
		{"1%", 5, 1},
		{"100%", 7, 7},
		{"50%", 0, 0},
	} {
		var f admin.Floor
		if err := f.UnmarshalText([]byte(test.text)); err != nil || f.String() != test.text {
			t.Errorf("%s: got %v, %v", test.text, f, err)
		}
		if got := f.Of(test.agents); got != test.of {
			t.Errorf("%s of %d agents: got %d, want %d", test.text, test.agents, got, test.of)
		}
	}
	for _, text := range []string{"", "%", "-1", "101%", "50 %", "half", "1.5"} {
		if err := new(admin.Floor).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "share of the roster") {
			t.Errorf("%q: got %v, want an error that shows both forms", text, err)
		}
	}
}

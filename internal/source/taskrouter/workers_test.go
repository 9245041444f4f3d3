package taskrouter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

// rest is a scripted REST API. Its funcs are set before the first request.
type rest struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter, r *http.Request) // the n-th request, from 0

	mu   sync.Mutex
	asks []string // method, path and query, or what was wrong with the credentials
	at   []time.Time
}

func newREST(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *rest {
	a := &rest{answer: answer}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask := r.Method + " " + r.URL.String()
		if user, password, ok := r.BasicAuth(); !ok || user != "SK00000000000000000000000000000001" || password != testSecret {
			ask = "credentials " + user
		}
		a.mu.Lock()
		n := len(a.asks)
		a.asks, a.at = append(a.asks, ask), append(a.at, time.Now())
		a.mu.Unlock()
		a.answer(n, w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *rest) asked() ([]string, []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asks...), append([]time.Time(nil), a.at...)
}

// source is one whose REST API this is; its requests are not paced unless the test says so.
func (a *rest) source(t *testing.T, change ...func(*Config)) *Source {
	return newSource(t, "http://127.0.0.1:1", append([]func(*Config){func(c *Config) {
		c.TaskRouterURL, c.RESTRate = a.URL+"/v1", 100
	}}, change...)...)
}

// workers asks once, within a time that lets repeats happen.
func (s *Source) workers(t *testing.T, expression string, within time.Duration) ([]string, error) {
	t.Helper()
	read, err := s.Workers(expression)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return read(ctx)
}

func sid(n int) string { return fmt.Sprintf("WK%032x", n) }

// workerPage is a page as section 14 of the protocol shows it, of workers from..to-1; next is the JSON of next_page_url.
func workerPage(from, to int, next string) string {
	var b strings.Builder
	b.WriteString(`{"workers":[`)
	for n := from; n < to; n++ {
		if n > from {
			b.WriteByte(',')
		}
		_, _ = fmt.Fprintf(&b, `{"sid":"%s","friendly_name":"agent","attributes":"{\"sid\":\"x\"}","activity_name":"Offline","available":false}`, sid(n))
	}
	_, _ = fmt.Fprintf(&b, `],"meta":{"key":"workers","page":0,"page_size":1000,"next_page_url":%s}}`, next)
	return b.String()
}

const workersPath = "/v1/Workspaces/" + testWorkspace + "/Workers"

func TestWorkers(t *testing.T) {
	var a *rest
	a = newREST(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		next := fmt.Sprintf(`"%s%s?PageSize=1000&Page=%d&PageToken=PT%d%%2Bx"`, a.URL, workersPath, n+1, n)
		switch n {
		case 0:
			_, _ = io.WriteString(w, workerPage(0, 1000, next))
		case 1:
			_, _ = io.WriteString(w, workerPage(999, 2000, next)) // one has moved between the pages
		default:
			_, _ = io.WriteString(w, workerPage(2000, 2345, "null"))
		}
	})
	got, err := a.source(t).workers(t, "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]string, 2345)
	for n := range want {
		want[n] = sid(n)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("workers (-want +got):\n%s", diff)
	}
	asks, _ := a.asked()
	wantAsks := []string{
		"GET " + workersPath + "?PageSize=1000",
		"GET " + workersPath + "?PageSize=1000&Page=1&PageToken=PT0%2Bx", // as they came
		"GET " + workersPath + "?PageSize=1000&Page=2&PageToken=PT1%2Bx",
	}
	if diff := cmp.Diff(wantAsks, asks); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestWorkersOfAnExpression(t *testing.T) {
	a := newREST(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, workerPage(0, 0, "null"))
	})
	s := a.source(t)
	const expression = `skills HAS "a&b" AND x == 1`
	read, err := s.Workers(expression)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got, err := read(t.Context()); len(got) != 0 || err != nil {
			t.Fatalf("got %v and %v, want an empty list", got, err)
		}
	}
	asks, at := a.asked()
	want := "GET " + workersPath + "?PageSize=1000&TargetWorkersExpression=" + url.QueryEscape(expression)
	if asks[0] != want {
		t.Errorf("got %s, want %s", asks[0], want)
	}
	if took := at[3].Sub(at[0]); took < 990*time.Millisecond {
		t.Errorf("four listings by an expression within %v, want at most 3 per second", took)
	}
}

func TestRESTRate(t *testing.T) {
	var a *rest
	a = newREST(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		next := "null"
		if n < 3 {
			next = fmt.Sprintf(`"%s/page%d"`, a.URL, n)
		}
		if n == 1 {
			w.Header().Set("X-Rate-Limit-Remaining", "0")
		}
		_, _ = io.WriteString(w, workerPage(n, n+1, next))
	})
	began := time.Now()
	if _, err := a.source(t, func(c *Config) { c.RESTRate = 10 }).workers(t, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	_, at := a.asked()
	at[0] = began // its way here may take longer than that of the next
	for n, least := range []time.Duration{95 * time.Millisecond, 990 * time.Millisecond, 0} {
		if wait := at[n+1].Sub(at[n]); wait < least {
			t.Errorf("request %d came %v after the one before, want at least %v", n+1, wait, least)
		}
	}
}

// What goes away is waited for within one listing, and the pages before it are not read again.
func TestWorkersRepeats(t *testing.T) {
	for name, test := range map[string]struct {
		fail  func(w http.ResponseWriter)
		least time.Duration
	}{
		"429": {func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"code":20429,"message":"Too Many Requests","status":429}`)
		}, time.Second},
		"500":      {func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, 0},
		"not JSON": {func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"workers":[{`) }, 0},
		"cut off":  {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a *rest
			a = newREST(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				switch n {
				case 0:
					_, _ = io.WriteString(w, workerPage(0, 1, `"`+a.URL+`/more"`))
				case 1:
					test.fail(w)
				default:
					_, _ = io.WriteString(w, workerPage(1, 2, "null"))
				}
			})
			got, err := a.source(t).workers(t, "", time.Minute)
			if diff := cmp.Diff([]string{sid(0), sid(1)}, got); diff != "" || err != nil {
				t.Errorf("error %v, workers (-want +got):\n%s", err, diff)
			}
			asks, at := a.asked()
			if len(asks) != 3 || asks[1] != "GET /more" || asks[2] != "GET /more" {
				t.Errorf("got requests %q, want the failed page alone to be asked for again", asks)
			} else if wait := at[2].Sub(at[1]); wait < test.least {
				t.Errorf("asked again after %v, want at least %v", wait, test.least)
			}
		})
	}
}

func TestWorkersFails(t *testing.T) {
	other := newREST(t, func(int, http.ResponseWriter, *http.Request) {})
	text := func(body string) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	status := func(code int, body string) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, test := range map[string]struct {
		answer    func(n int, w http.ResponseWriter, r *http.Request)
		reason    string
		permanent bool
		requests  int // 0: as many as there is time for
	}{
		"bad credentials": {status(401, `{"code":20003,"message":"Authenticate","status":401}`), "rest_401", true, 1},
		"forbidden":       {status(403, ""), "rest_403", true, 1},
		"no workspace":    {status(404, `{"code":20404}`), "rest_404", true, 1},
		"bad expression":  {status(400, `{"code":20001}`), "rest_400", true, 1},
		"server errors":   {status(500, ""), "rest_500", false, 1}, // whoever asked hears of it at once
		"server errors later": {func(n int, w http.ResponseWriter, r *http.Request) {
			if n > 0 {
				w.WriteHeader(500)
				return
			}
			_, _ = io.WriteString(w, workerPage(0, 1, `"http://`+r.Host+`/more"`))
		}, "list", false, 0},
		"redirect": {func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, "rest_3xx", true, 1},
		"foreign host":   {text(workerPage(0, 1, `"`+other.URL+workersPath+`"`)), "foreign_url", false, 1},
		"foreign scheme": {text(workerPage(0, 1, `"https://127.0.0.1/v1"`)), "foreign_url", false, 1},
		"user in the URL": {func(_ int, w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, workerPage(0, 1, `"http://u:p@`+r.Host+`/"`))
		}, "foreign_url", false, 1},
		"relative":          {text(workerPage(0, 1, `"/v1/more"`)), "foreign_url", false, 1},
		"not a URL":         {text(workerPage(0, 1, `"http://[::1"`)), "foreign_url", false, 1},
		"next is no text":   {text(workerPage(0, 1, `7`)), "list", false, 1},
		"no meta":           {text(`{"workers":[]}`), "list", false, 1},
		"no workers":        {text(`{"meta":{"next_page_url":null}}`), "list", false, 1},
		"an SID of another": {text(strings.ReplaceAll(workerPage(0, 1, "null"), "WK", "WS")), "list", false, 1},
		"leads to itself": {func(_ int, w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, workerPage(0, 1, `"http://`+r.Host+r.URL.String()+`"`))
		}, "list", false, 1},
		"leads in a circle": {func(n int, w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, workerPage(0, 1, fmt.Sprintf(`"http://%s/%d"`, r.Host, n%3)))
		}, "list", false, 4},
		"leads on for ever": {func(n int, w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, workerPage(0, 1, fmt.Sprintf(`"http://%s/%d"`, r.Host, n)))
		}, "list", false, mostPages},
		"asks for long wait": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "900")
			w.WriteHeader(429)
		}, "rest_429", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newREST(t, test.answer)
			s := a.source(t)
			s.metrics = NewMetrics(prometheus.NewRegistry())
			within := 20 * time.Second
			if test.requests == 0 {
				within = 2 * time.Second
			}
			got, err := s.workers(t, "", within)
			if got != nil || retry.ReasonOf(err) != test.reason || retry.IsPermanent(err) != test.permanent {
				t.Errorf("got %d workers and %v (%s, permanent %v), want reason %s, permanent %v",
					len(got), err, retry.ReasonOf(err), retry.IsPermanent(err), test.reason, test.permanent)
			}
			if asks, _ := a.asked(); test.requests > 0 && len(asks) != test.requests || test.requests == 0 && len(asks) < 3 {
				t.Errorf("got %d requests, want %d (0: several)", len(asks), test.requests)
			}
			want := 0.0
			if test.reason == "foreign_url" {
				want = 1
			}
			if got := testutil.ToFloat64(s.metrics.foreign); got != want {
				t.Errorf("got %v foreign URLs counted, want %v", got, want)
			}
			if name == "asks for long wait" && retry.Delay(err) != 15*time.Minute {
				t.Errorf("got a delay of %v, want the 15m asked for", retry.Delay(err))
			}
		})
	}
	t.Cleanup(func() { // after the parallel ones
		if asks, _ := other.asked(); len(asks) > 0 {
			t.Errorf("got %q on another origin, want nothing", asks)
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	a := newREST(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, workerPage(0, 1, "null"))
	})
	s := a.source(t)
	whole := int64(len(workerPage(0, 1, "null")))
	for largest, want := range map[int64]string{whole: "", whole - 1: fmt.Sprintf("read workers: the answer is larger than %d bytes", whole-1)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, _, f := s.exchange(req, "workers", purpose{"rest", "list", largest})
		got := ""
		if f != nil {
			got = f.err.Error()
		}
		if got != want || answer.Exists() != (want == "") {
			t.Errorf("at most %d bytes: got %q, want %q", largest, got, want)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for _, test := range []struct {
		base, next string
		want       bool
	}{
		{"https://taskrouter.twilio.com/v1", "https://taskrouter.twilio.com/v1/x?PageToken=1", true},
		{"https://taskrouter.twilio.com/v1", "https://TaskRouter.twilio.com:443/elsewhere", true},
		{"http://h:80/", "http://h/", true},
		{"https://taskrouter.twilio.com/v1", "http://taskrouter.twilio.com/v1/x", false},
		{"https://taskrouter.twilio.com/v1", "https://taskrouter.twilio.com:8443/v1/x", false},
		{"https://taskrouter.twilio.com/v1", "https://taskrouter.twilio.com.evil.example/v1", false},
		{"https://taskrouter.twilio.com/v1", "https://taskrouter.twilio.com@evil.example/v1", false},
		{"https://taskrouter.twilio.com/v1", "//taskrouter.twilio.com/v1", false},
		{"https://taskrouter.twilio.com/v1", "https:taskrouter.twilio.com", false},
	} {
		base, err := url.Parse(test.base)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameOrigin(base, test.next); got != test.want {
			t.Errorf("%s and %s: got %v, want %v", test.base, test.next, got, test.want)
		}
	}
}

// The secret travels in a header of every request, which servers and proxies may echo.
func TestNoSecretInListingErrors(t *testing.T) {
	const expression = "name == 'canary-expression'"
	authorization := "Basic U0sw" // how the header begins: base64 of SK0
	header := func(r *bufio.Reader) string {
		req, err := http.ReadRequest(r)
		if err != nil {
			return ""
		}
		return "HTTP/1.1 " + req.Header.Get("Authorization") + "_" + req.URL.String() + "\r\n\r\n"
	}
	for name, test := range map[string]struct {
		url   func(t *testing.T) string
		leaks bool // the cause itself holds what must not be told
	}{
		"status line quotes the request": {func(t *testing.T) string { return "http://" + sourcetest.Echo(t, header) }, true},
		"connection refused":             {func(*testing.T) string { return "http://127.0.0.1:1" }, true}, // net/http quotes the URL
		"body quotes the request": {func(t *testing.T) string {
			return newREST(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, `{"code":"%s","message":"%s"}`, r.Header.Get("Authorization"), r.URL)
			}).URL
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, "http://127.0.0.1:1", func(c *Config) { c.TaskRouterURL = test.url(t) + "/v1" })
			_, err := s.workers(t, expression, 2*time.Second)
			found := func(text string) bool {
				for _, word := range []string{testSecret, authorization, "U0sw", "canary-expression", "TargetWorkers"} {
					if strings.Contains(text, word) {
						return true
					}
				}
				return false
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := fmt.Sprintf("%v %+v %#v", e, e, e); found(text) {
					t.Errorf("got %s", text)
				}
			}
			var r *redacted
			if !errors.As(err, &r) {
				t.Fatalf("got %T, want it redacted", err)
			}
			if got := found(r.cause.Error()); got != test.leaks {
				t.Errorf("found in the cause %v: %v, want %v", r.cause, got, test.leaks)
			}
		})
	}
}

func TestListingReadsTheSecretAnew(t *testing.T) {
	file := t.TempDir() + "/secret"
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newREST(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, workerPage(0, 1, "null"))
	})
	s := a.source(t, func(c *Config) { c.APISecret, c.APISecretFile = config.Secret{}, config.Path(file) })
	if err := os.WriteFile(file, []byte(testSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.workers(t, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	if asks, _ := a.asked(); !strings.HasPrefix(asks[0], "GET ") {
		t.Errorf("got %q, want the new secret sent", asks)
	}
}

func TestListingEndsWithItsContext(t *testing.T) {
	began := make(chan bool, 1)
	a := newREST(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		began <- true
		<-r.Context().Done()
	})
	read, err := a.source(t).Workers("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := read(ctx)
		ended <- err
	}()
	<-began
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("got no error of a listing that was cut off")
		}
	case <-time.After(wantTimeout):
		t.Fatal("the listing does not end")
	}
}

func TestRESTURL(t *testing.T) {
	for _, test := range []struct{ region, bridge, rest, want string }{
		{"", "", "", "https://taskrouter.twilio.com/v1"},
		{"us1", "", "", "https://taskrouter.twilio.com/v1"},
		{"ie1", "", "", "https://taskrouter.dublin.ie1.twilio.com/v1"},
		{"au1", "", "", "https://taskrouter.sydney.au1.twilio.com/v1"},
		{"ie1", "", "https://h/v1", "https://h/v1"},
		{"", "http://127.0.0.1:8/x", "http://127.0.0.1:8/v1", "http://127.0.0.1:8/v1"},
		{"xx9", "", "", "taskrouter_url: missing: no network edge is known for this region; allowed: https://taskrouter.EDGE.REGION.twilio.com/v1"},
		{"", "http://127.0.0.1:8/x", "", "taskrouter_url: missing beside event_bridge_url; allowed: the REST API's URL, which lists the workers"},
		{"", "", "h/v1", "taskrouter_url: not valid; allowed: an absolute http or https URL with its path, without user, query and fragment"},
	} {
		cfg := Config{Region: test.region, EventBridgeURL: test.bridge, TaskRouterURL: test.rest}
		u, err := cfg.restURL()
		got := u.String
		if err != nil {
			got = err.Error
		}
		if got() != test.want {
			t.Errorf("%+v: got %s", test, got())
		}
	}
}

package bridge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/roster"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
)

// page answers the n-th request of a listing, from 1; self is the API's own address.
type page func(n int, self string, w http.ResponseWriter)

// listings are what a roster's reading over REST can be answered with. A command's statuses mean the same here, but there is no token that could be
// changed, and nothing is told: the roster that was read last stays.
var listings = []reaction{
	listing(400, "a parameter is wrong, such as the expression", refused),
	listing(401, "bad credentials", refused),
	listing(403, "the key lacks the right", refused),
	listing(404, "no such workspace, or a wrong URL", refused),
	listing(408, "time-out", orAgain),
	listing(409, "the state changed meanwhile", orAgain),
	listing(412, "the state changed meanwhile", orAgain),
	listing(429, "rate limit", orNotBefore),
	listing(500, "the vendor's fault", orAgain),
	listing(502, "the vendor's fault", orAgain),
	listing(503, "overload or maintenance", orNotBefore),
	listing(504, "the vendor's fault", orAgain),
	{what: "3xx", covers: [2]int{300, 399}, meaning: "never followed: the credentials would go elsewhere", next: refused, reason: "rest_3xx"},
	{what: "other 4xx", covers: [2]int{400, 499}, meaning: "will not change by itself", next: refused, reason: "rest_4xx"},
	{what: "other 5xx", covers: [2]int{500, 599}, meaning: "the vendor's fault", next: orAgain, reason: "rest_5xx"},
	{what: "600 and above", covers: [2]int{600, 999}, meaning: "no HTTP status", next: orAgain, reason: "rest_other"},
	{what: "429 without `Retry-After`", meaning: "stay away for 30 s", next: orPolitely, reason: "rest_429", script: script{listing: status(429, 20429, "")}},
	{what: "503 without `Retry-After`", meaning: "the same", next: orPolitely, reason: "rest_503", script: script{listing: status(503, 0, "")}},
	{what: "20003, with status 401", meaning: "bad credentials", next: refused, reason: "rest_401", script: script{number: 20003, listing: status(401, 20003, "")}},
	{what: "20404, with status 404", meaning: "not found", next: refused, reason: "rest_404", script: script{number: 20404, listing: status(404, 20404, "")}},
	{what: "20429, with status 429", meaning: "rate limit", next: orNotBefore, reason: "rest_429", script: script{number: 20429, listing: status(429, 20429, "42")}},
	{what: "a success with `X-Rate-Limit-Remaining: 0`", meaning: "the limit is used up", next: paced, script: script{listing: func(n int, self string, w http.ResponseWriter) {
		w.Header().Set("X-Rate-Limit-Remaining", "0")
		next := fmt.Sprintf("%q", self+"/v1/next")
		if n > 1 {
			next = "null"
		}
		_, _ = io.WriteString(w, `{"workers":[{"sid":"`+worker+`"}],"meta":{"next_page_url":`+next+`}}`)
	}}},
	{what: "a page that is no JSON", next: orAgain, reason: "list", script: script{listing: body(`{"workers":`)}},
	{what: "a page without workers or `next_page_url`", meaning: "half a list is no list", next: again, reason: "list", script: script{listing: body(`{"workers":[]}`)}},
	{
		what: "a worker without a SID", meaning: "the same", next: again, reason: "list",
		script: script{listing: body(`{"workers":[{"sid":"alice"}],"meta":{"next_page_url":null}}`)},
	},
	{what: "a page that leads back to one before it", meaning: "the same", times: 2, next: again, reason: "list", script: script{listing: func(_ int, self string, w http.ResponseWriter) {
		_, _ = io.WriteString(w, `{"workers":[],"meta":{"next_page_url":"`+self+`/v1/next"}}`)
	}}},
	{
		what: "`next_page_url` on another origin", meaning: "never followed: the credentials would go there", next: again, reason: "foreign_url",
		script: script{listing: body(`{"workers":[],"meta":{"next_page_url":"https://elsewhere.example/v1/next"}}`)},
	},
	{what: "the connection is cut before the answer", next: orAgain, reason: "eof", script: script{listing: func(int, string, http.ResponseWriter) {
		panic(http.ErrAbortHandler)
	}}},
	{what: "the connection is cut in the answer", next: orAgain, reason: "list", script: script{listing: func(_ int, _ string, w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"workers":[`)
		w.(patient).ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}}},
	{what: "no answer within `request_timeout`", next: orAgain, reason: "timeout", script: script{
		change:  func(c *taskrouter.Config) { c.RequestTimeout = config.Duration(20 * time.Millisecond) },
		listing: func(_ int, _ string, w http.ResponseWriter) { <-w.(patient).gone },
	}},
}

// patient is a response whose client can be waited for.
type patient struct {
	http.ResponseWriter
	gone <-chan struct{}
}

func listing(code int, meaning string, next step) reaction {
	r := reaction{code: code, meaning: meaning, next: next, reason: fmt.Sprintf("rest_%d", code)}
	if code == http.StatusRequestTimeout {
		r.reason = "rest_4xx"
	}
	return r
}

func body(text string) page {
	return func(_ int, _ string, w http.ResponseWriter) { _, _ = io.WriteString(w, text) }
}

// status answers as the vendor does when it refuses; retryAfter is the header, empty: none.
func status(code, number int, retryAfter string) page {
	return func(_ int, _ string, w http.ResponseWriter) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"code":%d,"message":"somebody's name"}`, number)
	}
}

// list reads a roster through the real source, and says what came of it and how often the API was asked for what the script answers: from its first page
// on, or for those after a first one that is in order.
func list(t *testing.T, sc script, later bool, within time.Duration) (asked int, err error) {
	t.Helper()
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if later && strings.HasSuffix(r.URL.Path, "/Workers") {
			_, _ = io.WriteString(w, `{"workers":[],"meta":{"next_page_url":"`+server.URL+`/v1/next"}}`)
			return
		}
		sc.listing(int(requests.Add(1)), server.URL, patient{w, r.Context().Done()})
	})
	server.Start()
	defer server.Close()

	cfg := vendorConfig("http://127.0.0.1:1", sc.change)
	cfg.TaskRouterURL, cfg.RESTRate = server.URL+"/v1", 100
	src, err := taskrouter.New(cfg, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	read, err := src.Workers("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err = read(ctx)
	return int(requests.Load()), err
}

// pauseAfter is how long the real watch, in virtual time, waits after a reading that failed with err. The roster has to stay meanwhile.
func pauseAfter(t *testing.T, err error) (pause time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var at []time.Time
		told := 0
		read := func(context.Context) ([]string, error) {
			at = append(at, time.Now())
			switch len(at) {
			case 2:
				return nil, err
			case 3:
				cancel()
			}
			return []string{worker}, nil
		}
		roster.NewWatch("toy", read, 5*time.Minute, zap.NewNop(), roster.NewMetrics(prometheus.NewRegistry())).Run(ctx, func([]string) { told++ })
		if told != 1 {
			t.Errorf("the roster was told %d times, want once: a failure changes nothing", told)
		}
		pause = at[2].Sub(at[1])
	})
	return pause
}

func (r reaction) checkListing(t *testing.T, name string) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		if r.next == paced {
			began := time.Now()
			if asked, err := list(t, r.script, false, time.Minute); err != nil || asked != 2 || time.Since(began) < time.Second {
				t.Errorf("got %d requests in %v and %v, want two, a second apart", asked, time.Since(began), err)
			}
			return
		}
		r.checkReading(t, false, max(1, r.times), r.reason)
		switch r.next {
		case orAgain, orPolitely:
			r.checkReading(t, true, 0, "list")
		case orNotBefore: // for longer than a reading may last
			r.checkReading(t, true, 1, r.reason)
		}
	})
}

// checkReading lets one reading fail; requests is how many there are for what fails, 0: several.
func (r reaction) checkReading(t *testing.T, later bool, requests int, reason string) {
	t.Helper()
	within := 10 * time.Second
	switch {
	case requests == 0 && r.next == orPolitely:
		within = 3 * time.Second // the first repeat comes within two
	case requests == 0:
		within = time.Second // within half of it
	}
	asked, err := list(t, r.script, later, within)
	if err == nil || retry.ReasonOf(err) != reason {
		t.Fatalf("later page %t: got reason %q (%v), want %q", later, retry.ReasonOf(err), err, reason)
	}
	if n := r.script.number; n != 0 && (!strings.Contains(err.Error(), fmt.Sprintf("code %d", n)) || strings.Contains(err.Error(), "somebody")) {
		t.Errorf("got %q, want the vendor's number %d in it and not its message", err, n)
	}
	if requests > 0 && asked != requests || requests == 0 && asked < 2 {
		t.Errorf("later page %t: asked %d times, want %d (0: several)", later, asked, requests)
	}
	least, most := time.Duration(0), time.Second
	switch r.next {
	case refused:
		least, most = 150*time.Second, 300*time.Second
	case orNotBefore:
		least, most = retryAfter, retryAfter
	case orPolitely:
		least, most = 30*time.Second, 30*time.Second
	}
	if pause := pauseAfter(t, err); pause < least || pause > most {
		t.Errorf("later page %t: read again after %v, want %v to %v", later, pause, least, most)
	}
}

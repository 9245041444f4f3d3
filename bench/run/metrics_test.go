package run

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestScrape(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `# TYPE sessions gauge
sessions{state="live"} 7
sessions{state="lost"} 2
# TYPE gaps_total counter
gaps_total{cause="crash"} 3
`)
	}))
	defer server.Close()
	m, err := scrape(t.Context(), strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, label, is string
		want            float64
	}{{"sessions", "state", "live", 7}, {"sessions", "", "", 9}, {"sessions", "state", "asleep", 0}, {"gaps_total", "cause", "crash", 3}, {"none", "", "", -1}} {
		if got := m.value(c.name, c.label, c.is); got != c.want {
			t.Errorf("%s, %s=%q: got %g, want %g", c.name, c.label, c.is, got, c.want)
		}
	}
	if got := m.by("none", "x"); len(got) != 0 {
		t.Errorf("got %v of a name that is not told", got)
	}
}

package sink

import (
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func route(t *testing.T, template string) *Route {
	t.Helper()
	r, err := ParseRoute(template)
	if err != nil {
		t.Fatalf("ParseRoute(%q): %v", template, err)
	}
	return r
}

func TestRoute(t *testing.T) {
	rec := &spool.Record{Key: 4294967295, Header: event.Header{
		Provider: event.Twilio, Account: "AC1", Type: event.ReservationTimedOut, Agent: "WK1",
	}}
	connect := &spool.Record{Key: 17, Header: event.Header{
		Provider: event.AmazonConnect, Account: "_", Type: event.BridgeCompleteness, Agent: "a.b*>c %\té",
	}}
	tests := []struct {
		template, wildcard string
		rec                *spool.Record
		want               string
	}{
		{DefaultRoute, "contact.*.*.*.*.*", rec, "contact.twilio.AC1.reservation.timed_out.WK1"},
		{DefaultRoute, "contact.*.*.*.*.*", connect, "contact.amazon_connect.%5F.bridge.completeness.a%2Eb%2A%3Ec%20%25%09%C3%A9"},
		{"c.{agent}", "c.*", &spool.Record{}, "c._"},
		{"facts-1.{partition}", "facts-1.*", rec, "facts-1.15"},
		{"facts.{partition:3}.x", "facts.*.x", connect, "facts.2.x"},
		{"one", "one", rec, "one"},
	}
	for _, tt := range tests {
		r := route(t, tt.template)
		if got := string(r.Append(nil, tt.rec)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.template, got, tt.want)
		}
		if got := r.Wildcard(); got != tt.wildcard {
			t.Errorf("%s: wildcard: got %s, want %s", tt.template, got, tt.wildcard)
		}
	}
}

func TestRouteRefuses(t *testing.T) {
	tests := []struct{ template, want string }{
		{"", "token 1"},
		{"{provider}.x", "must be literal"},
		{"a..b", "token 2"},
		{"a.*", "token 2"},
		{"a.>", "token 2"},
		{"a.b c", "token 2"},
		{"$JS.API", "token 1"},
		{"a.{worker}", "not a known placeholder"},
		{"a.{agent", "not a known placeholder"},
		{"a.{agent:3}", "not a known placeholder"},
		{"a.x{agent}", "token 2"},
		{"a.{partition:0}", "out of range"},
		{"a.{partition:16385}", "out of range"},
		{"a.{partition:}", "out of range"},
	}
	for _, tt := range tests {
		if _, err := ParseRoute(tt.template); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseRoute(%q): got %v, want it to say %q", tt.template, err, tt.want)
		}
	}
}

// FuzzRoute checks that a value is always exactly one safe token, and that no two values share one.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{"", "_", "%5F", "%", "a.b", "*", ">", "\x00\xff", "ä"} {
		f.Add(seed, seed+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := string(appendToken(nil, a)), string(appendToken(nil, b))
		if strings.Trim(x, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_%") != "" || x == "" {
			t.Errorf("token of %q: got %q", a, x)
		}
		if (x == y) != (a == b) {
			t.Errorf("tokens of %q and %q: got %q and %q", a, b, x, y)
		}
	})
}

func TestAppendDoesNotAllocate(t *testing.T) {
	r, rec, buf := route(t, DefaultRoute), &spool.Record{Header: event.Header{Account: "AC1", Type: event.TaskUpdated}}, make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = r.Append(buf[:0], rec) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

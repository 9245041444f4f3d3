package deadletter

import (
	"strings"
	"testing"
	"time"
)

// A file of this version's first release: what is in it must be readable as long as the suffix stays.
func TestReadsTheFormat(t *testing.T) {
	want := letter(7)
	got := held(t, "testdata", Filter{})
	same(t, "testdata", []Letter{want}, got)
}

func TestFilter(t *testing.T) {
	l := letter(1)
	at := l.At.Time()
	for name, test := range map[string]struct {
		f    Filter
		want bool
	}{
		"all":           {Filter{}, true},
		"letter":        {Filter{IDs: []string{"x", "facts.1795250000-1"}}, true},
		"event":         {Filter{IDs: []string{"WR1:created"}}, true},
		"another event": {Filter{IDs: []string{"WR1"}}, false},
		"sink":          {Filter{Sinks: []string{"x", "facts"}}, true},
		"another sink":  {Filter{Sinks: []string{"x"}}, false},
		"type":          {Filter{Types: []string{"reservation.created"}}, true},
		"noun":          {Filter{Types: []string{"reservation"}}, true},
		"another type":  {Filter{Types: []string{"task"}}, false},
		"agent":         {Filter{Agents: []string{"WK1"}}, true},
		"another agent": {Filter{Agents: []string{"WK2"}}, false},
		"reason":        {Filter{Reasons: []string{"too_large"}}, true},
		"another":       {Filter{Reasons: []string{"other"}}, false},
		"since then":    {Filter{Since: at}, true},
		"since later":   {Filter{Since: at.Add(time.Millisecond)}, false},
		"until then":    {Filter{Until: at}, true},
		"until before":  {Filter{Until: at.Add(-time.Millisecond)}, false},
		"all must fit":  {Filter{Sinks: []string{"facts"}, Agents: []string{"WK2"}}, false},
	} {
		if got := test.f.Match(&l); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestIDs(t *testing.T) {
	id := ID{"my.facts-2", 1795250000, 18446744073709551615}
	if got, err := ParseID(id.String()); got != id || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, id)
	}
	for _, bad := range []string{"", "facts", "facts.", "facts.1", "facts.1-", "facts.a-1", ".1-1", "WR1:created", "facts.1-2-3"} {
		if _, err := ParseID(bad); err == nil || !strings.Contains(err.Error(), "bridge dlq list") {
			t.Errorf("%q: got %v, want an error that says where ids are told", bad, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"message size exceeds\n maximum allowed":                           "message size exceeds maximum allowed",
		`bad message {"data":{"phone":"+1555"}}`:                           "bad message <redacted>",
		`bad message {"data":{"phone":"+15550100 and so on, cut somewhere`: "bad message <redacted>",
		`[10] Message Size Too Large: {"phone":1}`:                         "code 10: Message Size Too Large: <redacted>",
		`produce: [87] Invalid Record`:                                     "produce: code 87: Invalid Record",
		`codes [1,2] and {"a":1} differ`:                                   "codes <redacted> differ",
		"dial nats://user:secret@host:4222":                                "dial nats://<redacted>@host:4222",
		"GET https://host/path?token=secret failed":                        "GET https://host/path?<redacted> failed",
		"refused eyJhbGciOiJIUzI1NiJ9.e30.x":                               "refused <redacted>",
		"drawn \x1b[31mred\x00":                                            "drawn [31mred",
		"Authorization: Bearer abc":                                        "Authorization: Bearer <redacted>",
		strings.Repeat("long text ", 100):                                  strings.Repeat("long text ", 30) + "…",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

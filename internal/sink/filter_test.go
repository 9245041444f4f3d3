package sink

import (
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

func TestFilter(t *testing.T) {
	header := event.Header{Type: event.ReservationAccepted, Provider: event.Twilio, Account: "AC1", Origin: event.OriginSocket}
	tests := []struct {
		name   string
		filter Filter
		want   bool
	}{
		{"type", Filter{Types: []string{"task.updated", "reservation.accepted"}}, true},
		{"another type", Filter{Types: []string{"reservation.created"}}, false},
		{"noun", Filter{Types: []string{"reservation.*"}}, true},
		{"another noun", Filter{Types: []string{"task.*", "session.*"}}, false},
		{"provider", Filter{Providers: []string{"twilio"}}, true},
		{"another provider", Filter{Providers: []string{"amazon_connect"}}, false},
		{"account", Filter{Accounts: []string{"AC0", "AC1"}}, true},
		{"another account", Filter{Accounts: []string{"AC0"}}, false},
		{"origin", Filter{Origins: []string{"socket", "snapshot"}}, true},
		{"another origin", Filter{Origins: []string{"bridge"}}, false},
		{"all of it", Filter{[]string{"reservation.*"}, []string{"twilio"}, []string{"AC1"}, []string{"socket"}}, true},
		{"all but one", Filter{[]string{"reservation.*"}, []string{"twilio"}, []string{"AC1"}, []string{"bridge"}}, false},
	}
	for _, tt := range tests {
		if got := tt.filter.Keep()(&header); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if (&Filter{}).Keep() != nil {
		t.Error("an empty filter asks about each record")
	}
	if got := len((&Filter{}).Through()); got != len(event.Types) {
		t.Errorf("an empty filter lets %d types through, want %d", got, len(event.Types))
	}
}

func TestFilterProblems(t *testing.T) {
	f := Filter{
		Types: []string{"reservation.*", "reservation.acepted", "taskbridge.task.updated.v1", "*", ""}, Providers: []string{"twillio"},
		Accounts: []string{"AC1", "AC2"}, Origins: []string{"sockets"},
	}
	var got []string
	f.Problems([]string{"AC1"}, func(path, _, allowed string) {
		got = append(got, path)
		if allowed == "" {
			t.Errorf("%s: says not what is allowed", path)
		}
	})
	const want = "types[1] types[2] types[3] types[4] providers[0] accounts[1] origins[0]"
	if joined := strings.Join(got, " "); joined != want {
		t.Errorf("got problems at %s, want %s", joined, want)
	}
}

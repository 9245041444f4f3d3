package sink

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestFilterTellsOfGaps(t *testing.T) {
	for _, tt := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true},
		{Filter{Types: []string{"reservation.*", "session.gap"}}, true},
		{Filter{Types: []string{"session.*"}, Origins: []string{"socket", "bridge"}}, true},
		{Filter{Accounts: []string{"AC1"}}, true}, // those of its own agents
		{Filter{Types: []string{"reservation.*", "session.ready"}}, false},
		{Filter{Origins: []string{"socket", "snapshot"}}, false},
	} {
		if got := tt.filter.Gaps(); got != tt.want {
			t.Errorf("%+v: got %v, want %v", tt.filter, got, tt.want)
		}
	}
}

func TestFilterProblems(t *testing.T) {
	f := Filter{
		Types:     []string{"reservation.*", "reservation.acepted", "taskbridge.task.updated.v1", "*", "", "reservation.*", "reservation.accepted", ".*"},
		Providers: []string{"twilio", "twillio", "amazon_connect"}, Accounts: []string{"AC1", "AC2", ""}, Origins: []string{},
	}
	var got []string
	f.Problems([]event.Provider{event.Twilio}, []string{"AC1"}, func(path, what, allowed string) {
		got = append(got, path+": "+what)
		if allowed == "" {
			t.Errorf("%s: says not what is allowed", path)
		}
	})
	want := []string{
		"types[1]: not a known word", "types[2]: not a known word", "types[3]: not a known word", "types[4]: not a known word",
		"types[5]: given twice, first as [0]", "types[7]: not a known word", "providers[1]: not a known word", "providers[2]: not a known word",
		"accounts[1]: not a known word", "accounts[2]: not a known word", "origins: empty",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

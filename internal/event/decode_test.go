package event_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskbridge/taskbridge/internal/event"
)

func TestDecodeIsTheWayBack(t *testing.T) {
	for name, want := range map[string]*event.Event{"full": full(t), "empty": empty(), "hollow": hollow()} {
		t.Run(name, func(t *testing.T) {
			var encoded event.Encoded
			want.Encode(&encoded)
			got, err := encoded.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Decode after Encode (-want +got):\n%s", diff)
			}
			const sequence = "1767300000-0000000000000004711"
			got, gotSequence, err := event.ParseStructured(event.AppendStructured(nil, &encoded.Header, sequence, encoded.Data))
			if err != nil {
				t.Fatal(err)
			}
			if gotSequence != sequence {
				t.Errorf("sequence: got %q, want %q", gotSequence, sequence)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ParseStructured after AppendStructured (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeLeavesOutUnknownMembers(t *testing.T) {
	var encoded event.Encoded
	full(t).Encode(&encoded)
	encoded.Data = []byte(strings.Replace(string(encoded.Data), `{"provider"`, `{"later":{"x":1},"provider"`, 1))
	got, err := encoded.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(t), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("with a later member (-want +got):\n%s", diff)
	}
}

func TestDecodeRefusesBrokenData(t *testing.T) {
	var encoded event.Encoded
	full(t).Encode(&encoded)
	encoded.Data = encoded.Data[:len(encoded.Data)-1]
	if _, err := encoded.Decode(); err == nil {
		t.Error("Decode of cut data: got no error")
	}
}

func TestParseStructuredRefusesWhatIsNotOurs(t *testing.T) {
	e := empty()
	e.Source, e.Type = "/s", event.AgentActivityChanged
	var encoded event.Encoded
	e.Encode(&encoded)
	good := string(event.AppendStructured(nil, &encoded.Header, "1-1", encoded.Data))
	if _, _, err := event.ParseStructured([]byte(good)); err != nil {
		t.Fatalf("the unchanged event: %v", err)
	}
	for name, swap := range map[string][2]string{
		"not JSON":           {`{"specversion"`, `"specversion"`},
		"other specversion":  {`"1.0"`, `"0.3"`},
		"no id":              {`"id"`, `"di"`},
		"no source":          {`"source":"/s"`, `"source":""`},
		"other vendor":       {`"taskbridge.agent`, `"com.example.agent`},
		"other major":        {`changed.v1"`, `changed.v2"`},
		"unknown type":       {`activity_changed.v1`, `mood_changed.v1`},
		"data of other kind": {`"data":{`, `"data":7,"x":{`},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, swap[0], swap[1], 1)
			if bad == good {
				t.Fatalf("%q is not in the event", swap[0])
			}
			if e, _, err := event.ParseStructured([]byte(bad)); err == nil {
				t.Errorf("got event %q, want an error", e.ID)
			}
		})
	}
}

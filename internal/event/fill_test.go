package event_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

// enums are the closed lists by Go type.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[event.Provider]():          words(event.Providers),
	reflect.TypeFor[event.ReservationStatus](): words(event.ReservationStatuses),
	reflect.TypeFor[event.TaskStatus]():        words(event.TaskStatuses),
	reflect.TypeFor[event.TaskChannel]():       words(event.TaskChannels),
	reflect.TypeFor[event.TransferStatus]():    words(event.TransferStatuses),
	reflect.TypeFor[event.TransferMode]():      words(event.TransferModes),
	reflect.TypeFor[event.TargetKind]():        words(event.TargetKinds),
	reflect.TypeFor[event.SessionState]():      words(event.SessionStates),
	reflect.TypeFor[event.Continuity]():        words(event.Continuities),
	reflect.TypeFor[event.GapState]():          words(event.GapStates),
	reflect.TypeFor[event.GapCause]():          words(event.GapCauses),
	reflect.TypeFor[event.GapResult]():         words(event.GapResults),
	reflect.TypeFor[event.TimeSource]():        words(event.TimeSources),
	reflect.TypeFor[event.Origin]():            words(event.Origins),
	reflect.TypeFor[event.Type]():              words(event.Types),
}

func words[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

// full is an event in which no field has its zero value, and no two texts or figures are the same. It is filled by reflection, so
// that a field added to the types is in it.
func full(t testing.TB) *event.Event {
	t.Helper()
	e := new(event.Event)
	n := 0
	fill(t, reflect.ValueOf(e).Elem(), "", &n)
	return e
}

// empty is an event with nothing but what every event has: each block null.
func empty() *event.Event {
	return &event.Event{
		ID: "x:ready", Source: "/twilio/taskrouter/AC1/WS1", Type: event.SessionReady, Subject: "WK1:session", Time: 1, TimeSource: event.TimeReceived,
		Recorded: 1, Origin: event.OriginBridge, PartitionKey: "WK1", CorrelationID: "WK1", BridgeID: "bridge-0",
		Data: event.Data{Provider: event.Twilio, AccountID: "AC1", SiteID: "WS1"},
	}
}

// hollow is empty with every block there, and nothing in the blocks but what is never null.
func hollow() *event.Event {
	e := empty()
	d := &e.Data
	d.Agent, d.Task, d.Timing, d.Transfer, d.Channel = &event.Agent{ID: "WK1"}, &event.Task{}, &event.Timing{}, &event.Transfer{}, &event.Channel{}
	d.Reservation = &event.Reservation{ID: "WR1", Status: event.ReservationPending}
	d.Session = &event.Session{State: event.SessionLive}
	d.Gap = &event.Gap{State: event.GapOpened, Feed: "live", Cause: event.CauseSilence}
	d.Unmapped = &event.Unmapped{Count: 1, Keys: []string{}}
	return e
}

func fill(t testing.TB, v reflect.Value, path string, n *int) {
	t.Helper()
	*n++
	switch v.Interface().(type) {
	case event.Instant:
		v.Set(reflect.ValueOf(event.Instant(1767323050000 + int64(*n))))
		return
	case event.Null[int64]:
		v.Set(reflect.ValueOf(event.Some(int64(*n))))
		return
	case event.Null[float64]:
		v.Set(reflect.ValueOf(event.Some(float64(*n) + 0.5)))
		return
	case event.Null[bool]:
		v.Set(reflect.ValueOf(event.Some(true)))
		return
	case json.RawMessage:
		v.SetBytes(fmt.Appendf(nil, `{"n":%d}`, *n))
		return
	case *struct{}: // data.command: nothing can be in it
		return
	}
	switch v.Kind() {
	case reflect.String:
		list, enum := enums[v.Type()]
		switch {
		case enum:
			v.SetString(list[*n%len(list)])
		case strings.HasSuffix(path, ".SHA256"):
			v.SetString(fmt.Sprintf("%064x", *n))
		default:
			v.SetString(fmt.Sprintf("%s-%d", strings.TrimPrefix(path, "."), *n))
		}
	case reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), path, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path, n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Name, n)
		}
	default:
		t.Fatalf("%s: no rule to fill a %s", path, v.Type())
	}
}

const sequence = "1767300000-0000000000000004690"

// structured renders e as a sink does.
func structured(e *event.Event) []byte {
	var enc event.Encoded
	e.Encode(&enc)
	return event.AppendStructured(nil, &enc.Header, sequence, enc.Data)
}

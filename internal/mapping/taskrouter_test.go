package mapping

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tidwall/gjson"
	"go.yaml.in/yaml/v3"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

var alice = source.Agent{
	ID: "WK00000000000000000000000000000001", Source: "support", Provider: "twilio",
	URI:     "/twilio/taskrouter/AC00000000000000000000000000000001/WS00000000000000000000000000000001",
	Account: "AC00000000000000000000000000000001", Site: "WS00000000000000000000000000000001",
}

// hashKey is the test's; the program reads one from hash_key_file.
var hashKey = []byte("0123456789abcdef0123456789abcdef")

func policy(t testing.TB, yamlText []byte) *Policy {
	t.Helper()
	var c PrivacyConfig
	strict := yaml.NewDecoder(bytes.NewReader(yamlText))
	strict.KnownFields(true)
	if len(yamlText) > 0 {
		if err := strict.Decode(&c); err != nil {
			t.Fatal(err)
		}
	}
	p, err := NewPolicy(c, hashKey)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// teller does the intake's part: it completes, encodes and applies each event.
type teller struct {
	mapper *TaskRouter
	view   *View
	told   []event.Encoded
}

func newTeller(m *TaskRouter) *teller { return &teller{mapper: m, view: NewView(alice)} }

// dialects are the mappers by the folder of their golden files.
var dialects = map[string]func(*Policy) *TaskRouter{"taskrouter": NewTaskRouter, "taskrouter_v1": NewTaskRouterV1}

// mapperOf is the mapper that a golden file is for.
func mapperOf(file string, p *Policy) *TaskRouter {
	return dialects[filepath.Base(filepath.Dir(file))](p)
}

func (b *teller) frame(f source.Frame) Outcome {
	return b.mapper.Map(b.view, f, func(e *event.Event) error {
		e.Recorded, e.BridgeID = event.InstantOf(f.Received), "bridge-0"
		if e.Type == event.BridgeUnmapped {
			e.ID = fmt.Sprintf("%s:%d", e.Subject, len(b.told)+1)
		}
		var encoded event.Encoded
		e.Encode(&encoded)
		b.told = append(b.told, encoded)
		b.view.Apply(e)
		return nil
	})
}

func structured(e *event.Encoded, position int) []byte {
	return event.AppendStructured(nil, &e.Header, fmt.Sprintf("1767300000-%019d", position), e.Data)
}

// fold is the view that recovery would build from what was told.
func fold(t *testing.T, told []event.Encoded) *View {
	t.Helper()
	v := NewView(alice)
	for i := range told {
		e, err := told[i].Decode()
		if err != nil {
			t.Fatal(err)
		}
		v.Apply(e)
		v = restored(t, v)
	}
	return v
}

// restored is the view that a checkpoint of v brings back.
func restored(t *testing.T, v *View) *View {
	t.Helper()
	var b bytes.Buffer
	var s SavedView
	if err := errors.Join(gob.NewEncoder(&b).Encode(v.Save()), gob.NewDecoder(&b).Decode(&s)); err != nil {
		t.Fatal(err)
	}
	return s.View()
}

func sameView(t *testing.T, live, folded *View) {
	t.Helper()
	if reflect.DeepEqual(live, folded) { // much faster than what can say where they differ
		return
	}
	if diff := cmp.Diff(live, folded, cmp.AllowUnexported(View{}, Told{}, entry{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("live view and fold of its events differ (-live +fold):\n%s", diff)
	}
}

// The published examples come out byte for byte, given the figures that their README names.
func TestTaskRouterExamples(t *testing.T) {
	b := newTeller(NewTaskRouter(policy(t, nil)))
	snapshot := `{"worker":{"sid":"` + alice.ID + `","friendly_name":"alice","attributes":"{}","available":false,` +
		`"activity_sid":"WA00000000000000000000000000000001","activity_name":"Offline","date_updated":1767323024,` +
		`"date_status_changed":1767323024,"version":16},"reservations":[]}`
	frames := []struct {
		feed     source.Feed
		body     []byte
		received string
		example  string
		position int
	}{
		{source.State, []byte(snapshot), "2026-01-02T03:04:00.000Z", "", 0},
		{source.Live, sample(t, "worker.activity.update"), "2026-01-02T03:04:10.268Z", "agent.activity_changed.twilio.json", 4690},
		{source.Live, sample(t, "reservation.created"), "2026-01-02T03:04:28.190Z", "", 0},
		{source.Live, sample(t, "reservation.accepted"), "2026-01-02T03:04:35.412Z", "reservation.accepted.twilio.json", 4711},
	}
	for _, f := range frames {
		received, err := time.Parse(time.RFC3339, f.received)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.frame(source.Frame{Feed: f.feed, Body: f.body, Received: received}); got != Mapped {
			t.Fatalf("frame of %s: got %v, want %v", f.received, got, Mapped)
		}
		if f.example == "" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("testdata/examples", f.example))
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, text); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(structured(&b.told[len(b.told)-1], f.position))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.example, diff)
		}
	}
}

func sample(t testing.TB, eventType string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata/samples", eventType+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// The sample frames of the wire notes (sections 4.3 and 6) all map, as they are written there.
func TestTaskRouterSamples(t *testing.T) {
	want := map[string]struct {
		outcome Outcome
		events  []string
	}{
		"init":                    {Control, nil},
		"worker.activity.update":  {Mapped, []string{"agent.activity_changed"}},
		"worker.capacity.update":  {Mapped, []string{"agent.capacity_changed"}},
		"reservation.created":     {Mapped, []string{"reservation.created"}},
		"reservation.accepted":    {Mapped, []string{"reservation.created", "reservation.accepted"}},
		"reservation.canceled":    {Mapped, []string{"reservation.created", "reservation.canceled"}},
		"reservation.failed":      {Mapped, []string{"reservation.failed"}},
		"task.updated":            {Mapped, []string{"task.updated"}},
		"task.transfer-initiated": {Mapped, []string{"task.transfer_initiated"}},
	}
	files, err := filepath.Glob("testdata/samples/*.json")
	if err != nil || len(files) != len(want) {
		t.Fatalf("samples: got %d, %v, want %d", len(files), err, len(want))
	}
	for eventType, w := range want {
		t.Run(eventType, func(t *testing.T) {
			b := newTeller(NewTaskRouter(policy(t, nil)))
			if got := b.frame(source.Frame{Body: sample(t, eventType), Received: time.Unix(1767323500, 0)}); got != w.outcome {
				t.Errorf("outcome: got %v, want %v", got, w.outcome)
			}
			var got []string
			for _, e := range b.told {
				got = append(got, string(e.Header.Type))
			}
			if diff := cmp.Diff(w.events, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// What the default policy lets through holds nothing of attributes and free text. The same search finds them where the policy keeps them,
// so it can fail.
func TestTaskRouterPrivacy(t *testing.T) {
	leaks := func(t *testing.T, p *Policy) (found int) {
		for _, file := range goldens(t) {
			g := readGolden(t, file)
			b := newTeller(mapperOf(file, p))
			var secrets []string
			for _, f := range append(slices.Clone(g.Setup), g.Frame) {
				b.frame(f.frame(t))
				secrets = append(secrets, personal(gjson.ParseBytes(f.Body))...)
			}
			for i := range b.told {
				out := string(structured(&b.told[i], i))
				for _, s := range secrets {
					if strings.Contains(out, s) {
						found++
						if p.taskAttributes == nil {
							t.Errorf("%s: event %d holds %s", file, i, s)
						}
					}
				}
			}
		}
		return found
	}
	leaks(t, policy(t, nil))
	open := policy(t, []byte(`{free_text: keep, task_attributes: {selected_language: keep}, agent_attributes: {home_phone: keep}}`))
	if found := leaks(t, open); found < 10 {
		t.Errorf("search under an open policy: found %d, want at least 10: it cannot see leaks", found)
	}
}

// personal lists the personal texts of a frame, as they would stand in JSON.
func personal(v gjson.Result) (found []string) {
	v.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "attributes":
			found = append(found, scalars(gjson.Parse(v.Str))...)
		case "reason", "transfer_failed_reason", "message":
			if v.Type == gjson.String {
				found = append(found, v.Raw)
			}
		}
		if v.IsObject() || v.IsArray() {
			found = append(found, personal(v)...)
		}
		return true
	})
	return found
}

func scalars(v gjson.Result) (found []string) {
	v.ForEach(func(_, v gjson.Result) bool {
		switch {
		case v.IsObject() || v.IsArray():
			found = append(found, scalars(v)...)
		case v.Type == gjson.String && v.Str != "":
			found = append(found, v.Raw)
		}
		return true
	})
	return found
}

// The body is borrowed: what was kept of the events must not change when it is used again, nor when the mapper is.
func TestTaskRouterCopiesTheBody(t *testing.T) {
	body := sample(t, "reservation.accepted")
	mapper := NewTaskRouter(policy(t, nil))
	var got []*event.Event
	mapper.Map(NewView(alice), source.Frame{Body: body, Received: time.Unix(1, 0)}, func(e *event.Event) error {
		got = append(got, e.Clone())
		return nil
	})
	clear(body)
	mapper.Map(NewView(alice), source.Frame{Body: sample(t, "task.updated"), Received: time.Unix(2, 0)}, func(*event.Event) error { return nil })
	if len(got) != 2 || got[1].ID != "WR00000000000000000000000000000001:accepted" || got[1].Data.Task.QueueName != "Everyone" {
		t.Errorf("events after the body was overwritten: %+v", got)
	}
}

// One mapper serves many agents at once, and uses memory again: what it tells of one is what a mapper of its own would tell.
func TestTaskRouterServesManyAgents(t *testing.T) {
	p := openPolicy(t)
	shared := map[string]*TaskRouter{}
	for dialect, mapper := range dialects {
		shared[dialect] = mapper(p)
	}
	life := func(t *testing.T, m *TaskRouter, g golden) (told []string) {
		b := newTeller(m)
		for _, f := range append(slices.Clone(g.Setup), g.Frame) {
			b.frame(f.frame(t))
		}
		for i := range b.told {
			told = append(told, string(structured(&b.told[i], i)))
		}
		return told
	}
	for _, file := range goldens(t) {
		t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
			t.Parallel()
			g := readGolden(t, file)
			want := life(t, mapperOf(file, p), g)
			for range 20 {
				if diff := cmp.Diff(want, life(t, shared[filepath.Base(filepath.Dir(file))], g)); diff != "" {
					t.Fatalf("told by a mapper that others use (-by its own +got):\n%s", diff)
				}
			}
		})
	}
}

// After the log refused an event, nothing more of the frame is told.
func TestTaskRouterStopsWhenEmitFails(t *testing.T) {
	g := readGolden(t, "testdata/taskrouter/snapshot.first_met.json")
	for room := range 3 {
		calls := 0
		NewTaskRouter(policy(t, nil)).Map(NewView(alice), g.Frame.frame(t), func(*event.Event) error {
			if calls++; calls > room {
				return errors.New("full")
			}
			return nil
		})
		if want := room + 1; calls != want {
			t.Errorf("room for %d: emit was called %d times, want %d", room, calls, want)
		}
	}
}

func TestTaskRouterUnmapped(t *testing.T) {
	deepText := `{"event_type":"task.updated","payload":{"sid":"WT1","version":1,"attributes":"` + strings.Repeat("[", 5000) + `"}}`
	for name, c := range map[string]struct {
		feed    source.Feed
		body    string
		outcome Outcome
		want    event.Unmapped
	}{
		"not UTF-8":     {source.Live, "{\"event_type\":\"init\xff\"}", Unmapped, event.Unmapped{Reason: "not_utf8"}},
		"empty":         {source.Live, "", Unmapped, event.Unmapped{Reason: "not_json"}},
		"two documents": {source.Live, `{"event_type":"init"}{}`, Unmapped, event.Unmapped{Reason: "not_json"}},
		"long type word": {source.Live, `{"event_type":"` + strings.Repeat("ä", 40) + `"}`, Unmapped, event.Unmapped{
			Reason: "unknown_type", TypeRaw: strings.Repeat("ä", 32), Keys: []string{"event_type"},
		}},
		"long names": {source.Live, `{"` + strings.Repeat("k", 70) + `":1}`, Unmapped, event.Unmapped{
			Reason: "no_event_type", Keys: []string{strings.Repeat("k", 64)},
		}},
		"many names": {source.Live, `{` + strings.Repeat(`"k":1,`, 20) + `"k":1}`, Unmapped, event.Unmapped{
			Reason: "no_event_type", Keys: slices.Repeat([]string{"k"}, 16),
		}},
		"payload is text": {source.Live, `{"event_type":"task.updated","payload":"{}"}`, Unmapped, event.Unmapped{
			Reason: "no_payload", TypeRaw: "task.updated", Keys: []string{"event_type", "payload"},
		}},
		"last of two members counts":     {source.Live, `{"event_type":"task.updated","payload":{},"event_type":"init"}`, Control, event.Unmapped{}},
		"brackets in text are not depth": {source.Live, deepText, Mapped, event.Unmapped{}},
		"a feed that is not known":       {source.Past, `{}`, Unmapped, event.Unmapped{Reason: "other_feed"}},
		"snapshot of nothing":            {source.State, `{}`, Unmapped, event.Unmapped{Reason: "missing_field"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []*event.Event
			outcome := NewTaskRouter(policy(t, nil)).Map(NewView(alice), source.Frame{Feed: c.feed, Body: []byte(c.body)}, func(e *event.Event) error {
				got = append(got, e.Clone())
				return nil
			})
			if outcome != c.outcome {
				t.Errorf("outcome: got %v, want %v", outcome, c.outcome)
			}
			if c.outcome != Unmapped {
				return
			}
			if len(got) != 1 || got[0].Type != event.BridgeUnmapped {
				t.Fatalf("events: got %+v, want one bridge.unmapped", got)
			}
			c.want.SizeBytes, c.want.Count = int64(len(c.body)), 1
			if diff := cmp.Diff(&c.want, got[0].Data.Unmapped, cmpopts.IgnoreFields(event.Unmapped{}, "SHA256")); diff != "" {
				t.Errorf("unmapped block (-want +got):\n%s", diff)
			}
		})
	}
}

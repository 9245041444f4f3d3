package mapping

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

// openPolicy lets through as much as a policy can, so that as much as possible is written.
func openPolicy(t testing.TB) *Policy {
	return policy(t, []byte(`{raw: true, free_text: keep, hash_key_file: key, agent_attributes: {languages.0: keep, a: keep},
		task_attributes: {selected_language: keep, a: keep, b.c: hash, d.0: "truncate:2"}}`))
}

// sound maps the frame twice, on the view as it is and on what came of it, and checks what holds for every frame whatever its bytes.
func sound(t *testing.T, b *teller, f source.Frame) {
	t.Helper()
	for range 2 {
		before := len(b.told)
		outcome := b.frame(f)
		told := b.told[before:]
		unmapped := 0
		for i := range told {
			e := &told[i]
			if e.Header.Type == event.BridgeUnmapped {
				unmapped++
			}
			if out := structured(e, i); !json.Valid(out) {
				t.Errorf("not JSON: %q", out)
			}
			h := &e.Header
			for _, id := range []string{h.ID, h.Subject, h.PartitionKey, h.CorrelationID} {
				if id == "" || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
					t.Errorf("%s: an id that no header can hold: %q", h.Type, id)
				}
			}
			if h.Time <= 0 || !h.Time.Valid() {
				t.Errorf("%s: time %d", h.ID, h.Time)
			}
		}
		switch {
		case (outcome == Unmapped) != (unmapped == 1), unmapped > 1:
			t.Errorf("outcome %v with %d bridge.unmapped events", outcome, unmapped)
		case (outcome == Repeat || outcome == Control) && len(told) > 0, outcome == Mapped && len(told) == 0:
			t.Errorf("outcome %v with %d events", outcome, len(told))
		case outcome > Unmapped:
			t.Errorf("outcome %v is not a mapper's", outcome)
		}
	}
	sameView(t, b.view, fold(t, b.told))
	ids := map[string]bool{}
	for _, e := range b.told {
		if ids[e.Header.ID] {
			t.Errorf("told twice: %s", e.Header.ID)
		}
		ids[e.Header.ID] = true
	}
}

func FuzzTaskRouter(f *testing.F) { fuzz(f, NewTaskRouter) }

func FuzzTaskRouterV1(f *testing.F) { fuzz(f, NewTaskRouterV1) }

func fuzz(f *testing.F, mapper func(*Policy) *TaskRouter) {
	for _, file := range goldens(f) { // of both dialects: what one is not meant for is odd input too
		g := readGolden(f, file)
		for _, frame := range append(g.Setup, g.Frame) {
			f.Add([]byte(frame.Body), frame.Feed == "state")
			f.Add([]byte(frame.Text), frame.Feed == "state")
		}
	}
	p := openPolicy(f)
	f.Fuzz(func(t *testing.T, body []byte, state bool) {
		feed := source.Live
		if state {
			feed = source.State
		}
		sound(t, newTeller(mapper(p)), source.Frame{Feed: feed, Body: body, Received: time.Unix(1767323500, 0)})
	})
}

// Every value of every kind of frame is replaced by odd ones, one at a time: a fuzzer of bytes seldom leaves the rest valid.
func TestTaskRouterOddValues(t *testing.T) {
	odd := []string{
		`null`, `""`, `"WK2"`, `":"`, `"` + strings.Repeat("A", maxID+1) + `"`, `0`, `-1`, `"7"`, `1e300`, `9223372036854775807`, `{}`, `[[]]`,
		`"0001-01-01T00:00:00Z"`, `"2026-01-02T03:04:10Z"`,
	}
	p := openPolicy(t)
	frames := map[string]int{}
	for _, file := range goldens(t) {
		g := readGolden(t, file)
		kind := filepath.Dir(file) + g.Frame.Feed + gjson.GetBytes(g.Frame.Body, "event_type").Str
		if g.Outcome != "mapped" || frames[kind] > 0 || g.Frame.Feed == "state" && !strings.Contains(file, "snapshot.first_met") {
			continue
		}
		f := g.Frame.frame(t)
		for _, at := range values(gjson.ParseBytes(f.Body), 0) {
			for _, value := range odd {
				changed := f
				changed.Body = slices.Concat(f.Body[:at.from], []byte(value), f.Body[at.to:])
				sound(t, newTeller(mapperOf(file, p)), changed)
				if t.Failed() {
					t.Fatalf("%s: %s", file, changed.Body)
				}
			}
		}
		frames[kind]++
	}
	if len(frames) < 35 {
		t.Errorf("kinds of frames: got %d, want at least 35", len(frames))
	}
}

type place struct{ from, to int }

// values lists where every value of a document stands.
func values(v gjson.Result, offset int) []place {
	found := []place{{offset, offset + len(v.Raw)}}
	if v.IsObject() || v.IsArray() {
		v.ForEach(func(_, v gjson.Result) bool {
			found = append(found, values(v, v.Index)...)
			return true
		})
	}
	return found
}

package mapping

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is one file of testdata/taskrouter or testdata/taskrouter_v1.
type golden struct {
	Why     string            `json:"why,omitempty"`
	Privacy json.RawMessage   `json:"privacy,omitempty"` // PrivacyConfig, by its yaml names
	Setup   []goldenFrame     `json:"setup,omitempty"`
	Frame   goldenFrame       `json:"frame"`
	Outcome string            `json:"outcome"`
	Events  []json.RawMessage `json:"events"` // structured mode
}

type goldenFrame struct {
	Feed     string          `json:"feed"`
	Received time.Time       `json:"received"`
	Body     json.RawMessage `json:"body,omitempty"`
	Text     string          `json:"text,omitempty"` // instead of Body, for what is not JSON
}

func (f goldenFrame) frame(t testing.TB) source.Frame {
	t.Helper()
	feed := map[string]source.Feed{"live": source.Live, "state": source.State}[f.Feed]
	body := []byte(f.Text)
	if f.Body != nil {
		var compact bytes.Buffer
		if err := json.Compact(&compact, f.Body); err != nil {
			t.Fatal(err)
		}
		body = compact.Bytes()
	}
	return source.Frame{Feed: feed, Body: body, Received: f.Received}
}

func goldens(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/taskrouter*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: got %d, %v", len(files), err)
	}
	return files
}

func readGolden(t testing.TB, file string) golden {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return g
}

func TestTaskRouterGolden(t *testing.T) {
	for _, file := range goldens(t) {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".json"), func(t *testing.T) {
			g := readGolden(t, file)
			b := newTeller(mapperOf(file, policy(t, g.Privacy)))
			for i, f := range g.Setup {
				if got := b.frame(f.frame(t)); got != Mapped {
					t.Fatalf("setup frame %d: got %v, want %v", i, got, Mapped)
				}
			}
			before := len(b.told)
			got := golden{Why: g.Why, Privacy: g.Privacy, Setup: g.Setup, Frame: g.Frame, Outcome: b.frame(g.Frame.frame(t)).String()}
			got.Events = []json.RawMessage{}
			for i := range b.told[before:] {
				got.Events = append(got.Events, structured(&b.told[before+i], before+i+1))
			}
			sameView(t, b.view, fold(t, b.told))

			if *update {
				writeGolden(t, file, got)
				return
			}
			if got.Outcome != g.Outcome {
				t.Errorf("outcome: got %s, want %s", got.Outcome, g.Outcome)
			}
			if diff := cmp.Diff(indented(t, g.Events), indented(t, got.Events)); diff != "" {
				t.Errorf("events (-want +got), rewrite with -update:\n%s", diff)
			}
		})
	}
}

func writeGolden(t *testing.T, file string, g golden) {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func indented(t *testing.T, events []json.RawMessage) string {
	t.Helper()
	var out bytes.Buffer
	for _, e := range events {
		if err := json.Indent(&out, e, "", " "); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// Every canonical type that this dialect can bring about has a golden file of its name.
func TestTaskRouterGoldenCoversEveryType(t *testing.T) {
	var told []string
	for _, file := range goldens(t) {
		for _, e := range readGolden(t, file).Events {
			told = append(told, gjson.GetBytes(e, "type").Str)
		}
	}
	for _, want := range event.Types {
		switch want.Noun() {
		case "session":
			continue // the bridge's own
		}
		switch want {
		case event.BridgeCompleteness, event.TaskExpiring, event.TaskExpired: // the bridge's own; Amazon Connect's
			continue
		}
		if !slices.Contains(told, want.Name()) {
			t.Errorf("no golden file tells %s", want)
		}
	}
}

// What is told has the blocks that docs/events.md promises, and each block that is there sometimes is there in some golden file.
func TestTaskRouterGoldenHasItsBlocks(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range goldens(t) {
		for i, e := range readGolden(t, file).Events {
			typ := event.Type(strings.TrimSuffix(strings.TrimPrefix(gjson.GetBytes(e, "type").Str, "taskbridge."), ".v1"))
			p, known := event.Blocks[typ]
			if !known {
				t.Errorf("%s, event %d: event.Blocks does not have %s", file, i, typ)
			}
			if err := p.Check([]byte(gjson.GetBytes(e, "data").Raw)); err != nil {
				t.Errorf("%s, event %d: %v", file, i, err)
			}
			for _, block := range p.Sometimes {
				seen[block] = seen[block] || gjson.GetBytes(e, "data."+block).IsObject()
			}
		}
	}
	for typ, p := range event.Blocks {
		for _, block := range p.Sometimes {
			if !seen[block] {
				t.Errorf("no golden file has the block %s, which %s has sometimes", block, typ)
			}
		}
	}
}

// What is told is what the published schema says.
func TestTaskRouterGoldenMatchesTheSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemas.Event))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("urn:taskbridge:event:1.0", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("urn:taskbridge:event:1.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range goldens(t) {
		for i, e := range readGolden(t, file).Events {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(e))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s, event %d: %v", file, i, err)
			}
		}
	}
}

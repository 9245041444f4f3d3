package event_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/testpage"
	"github.com/taskbridge/taskbridge/schemas"
)

// told says when an event of each type is told.
var told = map[event.Type]string{
	event.SessionReady:              "a session began to receive for the agent; also when one session takes over from another",
	event.SessionLost:               "the agent's last session ended",
	event.SessionRefused:            "the vendor refused the agent's session; once, not at each new try",
	event.SessionTokenExpired:       "the agent's last session ended with its token",
	event.SessionGap:                "a stretch in which the feed was not provably received began, ended, or was filled as far as it can be",
	event.AgentActivityChanged:      "the agent's activity changed, or was first seen",
	event.AgentAttributesChanged:    "the agent's attributes changed",
	event.AgentCapacityChanged:      "capacity or availability of one of the agent's channels changed, or was first seen",
	event.ReservationCreated:        "a task was offered to the agent",
	event.ReservationAccepted:       "the agent took the task",
	event.ReservationRejected:       "the agent declined",
	event.ReservationTimedOut:       "the agent did not answer in time",
	event.ReservationCanceled:       "the offer, or the task, was taken back",
	event.ReservationRescinded:      "another agent took the task",
	event.ReservationWrapping:       "the conversation is over, and the agent writes it up",
	event.ReservationCompleted:      "the agent is done with the task",
	event.ReservationFailed:         "a task that was aimed at the agent could not be reserved for her",
	event.ReservationEndedUnseen:    "a reservation was gone when a gap ended: it is over, how is not known",
	event.TaskUpdated:               "a task that the agent holds was changed; its attributes, say",
	event.TaskCanceled:              "a task was canceled",
	event.TaskCompleted:             "a task was completed",
	event.TaskWrapping:              "the conversation of a task is over",
	event.TaskTransferInitiated:     "a transfer began",
	event.TaskTransferAttemptFailed: "a target did not take the transfer, which goes on",
	event.TaskTransferSucceeded:     "the target has taken over",
	event.TaskTransferFailed:        "a transfer failed",
	event.TaskTransferCanceled:      "a transfer was taken back",
	event.TaskExpiring:              "reserved for Amazon Connect; not told yet",
	event.TaskExpired:               "reserved for Amazon Connect; not told yet",
	event.BridgeUnmapped:            "a frame was not understood; of the frames beyond 100 a minute one event tells the count",
	event.BridgeCompleteness:        "reserved; not told yet",
}

type pageType struct{ Name, Told, Blocks string }

type pageObject struct {
	Title, Meaning string
	Members        []pageMember
}

type pageMember struct {
	Name, Values, Meaning string
	Enum                  []pageValue // where the values need to be explained
}

type pageValue struct{ Value, Meaning string }

// The page for consumers is what the schema, the table of blocks and the template say.
func TestEventsPage(t *testing.T) {
	var types []pageType
	for _, typ := range event.Types {
		if told[typ] == "" {
			t.Errorf("%s: nothing says when it is told", typ)
		}
		if _, known := event.Blocks[typ]; known == strings.HasPrefix(told[typ], "reserved") {
			t.Errorf("%s: %q, and its blocks are in the table: %t", typ, told[typ], known)
		}
		types = append(types, pageType{string(typ), told[typ], blocksBesideAgent(event.Blocks[typ])})
	}
	schema := gjson.ParseBytes(schemas.Event)
	data := objectOf(t, "data", schema.Get("$defs.data"))
	blocks := []pageObject{data}
	for _, m := range data.Members {
		if def := schema.Get("$defs.data.$defs." + m.Name); def.Get("properties").Exists() {
			blocks = append(blocks, objectOf(t, m.Name, def))
		}
	}
	testpage.Match(t, "../../docs/events.md", testpage.Render(t, "testdata/events.md.tmpl", map[string]any{
		"Types": types, "Attributes": objectOf(t, "attributes", schema), "Blocks": blocks,
		"Example": strings.TrimSpace(string(examples(t)["reservation.accepted.twilio.json"])),
	}))
}

func blocksBesideAgent(p event.Presence) string {
	var list []string
	for _, block := range p.Always {
		if block != "agent" {
			list = append(list, "`"+block+"`")
		}
	}
	for _, block := range p.Sometimes {
		list = append(list, "`"+block+"` or null")
	}
	return strings.Join(list, ", ")
}

func objectOf(t *testing.T, title string, schema gjson.Result) pageObject {
	o := pageObject{Title: title, Meaning: schema.Get("description").Str}
	schema.Get("properties").ForEach(func(name, member gjson.Result) bool {
		m := memberOf(t, title, name.Str, member)
		if def := schema.Get("$defs." + name.Str); m.Meaning == "" {
			m.Meaning = fmt.Sprintf("[Below](#%s).", name.Str)
			if name.Str != "data" && !def.Get("properties").Exists() {
				m.Meaning = def.Get("description").Str
			}
		}
		o.Members = append(o.Members, m)
		return true
	})
	return o
}

// selfExplaining are the enums of which the words alone say enough.
var selfExplaining = []string{"task.channel", "channel.name", "attributes.type"}

// valueStart is where a description begins to explain one value of an enum.
var valueStart = regexp.MustCompile(`(?:^| )([a-z_]+): `)

func memberOf(t *testing.T, object, name string, schema gjson.Result) pageMember {
	m := pageMember{Name: name, Values: valuesOf(schema), Meaning: schema.Get("description").Str}
	var words []string
	for _, v := range schema.Get("enum").Array() {
		if v.Type == gjson.String {
			words = append(words, v.Str)
		}
	}
	m.Meaning = strings.NewReplacer("<", `\<`, ">", `\>`).Replace(m.Meaning) // else Markdown takes it for a tag
	if len(words) == 0 || slices.Contains(selfExplaining, object+"."+name) {
		return m
	}
	starts := valueStart.FindAllStringSubmatchIndex(m.Meaning, -1)
	for i, at := range starts {
		end := len(m.Meaning)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		m.Enum = append(m.Enum, pageValue{m.Meaning[at[2]:at[3]], m.Meaning[at[1]:end]})
	}
	if len(starts) > 0 {
		m.Meaning = m.Meaning[:starts[0][0]]
	}
	var explained []string
	for _, v := range m.Enum {
		explained = append(explained, v.Value)
	}
	if diff := cmp.Diff(words, explained); diff != "" {
		t.Errorf("%s.%s: values that its description explains (-enum +description):\n%s", object, name, diff)
	}
	return m
}

func valuesOf(schema gjson.Result) string {
	switch ref := schema.Get("$ref").Str; {
	case strings.HasSuffix(ref, "/instant"):
		return "instant or null"
	case strings.HasPrefix(ref, "#/$defs/"):
		return "object or null"
	case ref != "":
		return "object"
	}
	var words []string
	for _, v := range schema.Get("enum").Array() {
		if v.Type == gjson.String && !strings.HasPrefix(v.Str, "taskbridge.") {
			words = append(words, "`"+v.Str+"`")
		}
	}
	if c := schema.Get("const"); c.Exists() {
		return "`" + c.Str + "`"
	}
	var kinds []string
	for _, kind := range schema.Get("type").Array() {
		switch {
		case kind.Str != "string":
			kinds = append(kinds, kind.Str)
		case len(words) > 0:
			kinds = append(kinds, strings.Join(words, ", "))
		case schema.Get("format").Str == "date-time":
			kinds = append(kinds, "instant")
		default:
			kinds = append(kinds, "text")
		}
	}
	if kinds == nil {
		return "anything"
	}
	return strings.Join(kinds, " or ")
}

// Blocks names blocks that the data document has; the examples keep to it, and an event that does not is found.
func TestBlocks(t *testing.T) {
	for typ, p := range event.Blocks {
		for _, block := range slices.Concat(p.Always, p.Sometimes) {
			if !gjson.GetBytes(schemas.Event, fmt.Sprintf("$defs.data.properties.%s.$ref", block)).Exists() {
				t.Errorf("%s: the schema has no block %q", typ, block)
			}
		}
	}
	for name, doc := range examples(t) {
		for typ, p := range event.Blocks {
			if typ.Name() != gjson.GetBytes(doc, "type").Str {
				continue
			}
			if err := p.Check([]byte(gjson.GetBytes(doc, "data").Raw)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	p := event.Presence{Always: []string{"agent"}, Sometimes: []string{"task"}}
	for doc, ok := range map[string]bool{
		`{"provider":"twilio","agent":{},"task":null,"gap":null,"raw":{"a":1}}`: true,
		`{"agent":{},"task":{}}`:           true,
		`{"agent":null,"task":{}}`:         false,
		`{"task":{}}`:                      false,
		`{"agent":{},"task":{},"gap":{}}`:  false,
		`{"agent":{},"task":{},"gap":null`: false,
	} {
		if err := p.Check([]byte(doc)); (err == nil) != ok {
			t.Errorf("Check(%s): got %v, want ok %t", doc, err, ok)
		}
	}
}

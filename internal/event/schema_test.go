package event_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/schemas"
)

// neverNull are the texts and enums that every event has, or every event with that block; all others may be null.
var neverNull = []string{
	"data.provider", "data.account_id", "data.site_id", "agent.id", "reservation.id", "reservation.status", "session.state",
	"gap.state", "gap.feed", "gap.cause",
}

func TestSchemaAgreesWithGoTypes(t *testing.T) {
	root := schemaDocument(t)
	data := root["$defs"].(map[string]any)["data"].(map[string]any)
	compareBlock(t, "data", data, memberOrder(t, "$defs", "data"), reflect.TypeFor[event.Data]())

	defs := data["$defs"].(map[string]any)
	blocks := []string{"instant"}
	for f := range fields(reflect.TypeFor[event.Data]()) {
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().NumField() > 0 {
			name := f.Tag.Get("json")
			blocks = append(blocks, name)
			def, ok := defs[name].(map[string]any)
			if !ok {
				t.Errorf("schema has no block %q", name)
				continue
			}
			compareBlock(t, name, def, memberOrder(t, "$defs", "data", "$defs", name), f.Type.Elem())
		}
	}
	for name := range defs {
		if name != "command" && !slices.Contains(blocks, name) {
			t.Errorf("schema defines %q, which no Go type has", name)
		}
	}
}

func TestSchemaOfEnvelope(t *testing.T) {
	root := schemaDocument(t)
	var want []string
	var enc event.Encoded
	full(t).Encode(&enc)
	enc.Header.Attributes(sequence, func(name, _ string) { want = append(want, name) })
	want = append(want, "data")
	if diff := cmp.Diff(want, memberOrder(t)); diff != "" {
		t.Errorf("attributes in schema (-Header.Attributes +schema):\n%s", diff)
	}
	if diff := cmp.Diff(want, texts(root["required"])); diff != "" {
		t.Errorf("required attributes (-want +got):\n%s", diff)
	}
	var types []string
	for _, typ := range event.Types {
		types = append(types, typ.Name())
	}
	properties := root["properties"].(map[string]any)
	for name, list := range map[string][]string{"type": types, "timesource": words(event.TimeSources), "origin": words(event.Origins)} {
		if diff := cmp.Diff(list, texts(properties[name].(map[string]any)["enum"])); diff != "" {
			t.Errorf("%s (-Go +schema):\n%s", name, diff)
		}
	}
	data := root["$defs"].(map[string]any)["data"].(map[string]any)
	if got := data["$id"]; got != event.DataSchema {
		t.Errorf("$id of data: got %v, want %v", got, event.DataSchema)
	}
}

func TestSchemaDescribesEveryMember(t *testing.T) {
	var walk func(path string, node map[string]any)
	walk = func(path string, node map[string]any) {
		for name, member := range mapOf(node["properties"]) {
			m := mapOf(member)
			if _, ref := m["$ref"]; !ref && m["description"] == nil || m["$ref"] == "#/$defs/instant" && m["description"] == nil {
				t.Errorf("%s.%s has no description", path, name)
			}
			if strings.HasSuffix(name, "_ms") && !strings.Contains(m["description"].(string), "millisecond") {
				t.Errorf("%s.%s does not name its unit", path, name)
			}
		}
		for name, def := range mapOf(node["$defs"]) {
			if mapOf(def)["description"] == nil {
				t.Errorf("%s/%s has no description", path, name)
			}
			walk(name, mapOf(def))
		}
	}
	walk("event", schemaDocument(t))
}

func TestEventsSatisfySchema(t *testing.T) {
	closed := compile(t, closedSchema(t))
	check := func(name string, doc []byte) {
		t.Helper()
		if err := validate(t, closed, doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("full", structured(full(t)))
	check("empty", structured(empty()))
	check("hollow", structured(hollow()))
	for name, doc := range examples(t) {
		check(name, doc)
	}
}

// What must not pass: without these, a schema that allows everything would satisfy the tests above.
func TestSchemaRefuses(t *testing.T) {
	open, closed := compile(t, schemaDocument(t)), compile(t, closedSchema(t))
	for name, tc := range map[string]struct {
		change     func(e, data map[string]any)
		openAllows bool
	}{
		"renamed member": {change: func(_, d map[string]any) { rename(mapOf(d["agent"]), "activity_id", "activity") }},
		"missing block":  {change: func(_, d map[string]any) { delete(d, "timing") }},
		"missing member": {change: func(_, d map[string]any) { delete(mapOf(d["gap"]), "note") }},
		"wrong enum":     {change: func(_, d map[string]any) { mapOf(d["reservation"])["status"] = "timeout" }},
		"wrong channel":  {change: func(_, d map[string]any) { mapOf(d["task"])["channel"] = "fax" }},
		"text for figure": {change: func(_, d map[string]any) {
			mapOf(d["timing"])["ring_ms"] = "7000"
		}},
		"fraction of a ms":     {change: func(_, d map[string]any) { mapOf(d["timing"])["ring_ms"] = 7.5 }},
		"instant in seconds":   {change: func(_, d map[string]any) { mapOf(d["task"])["created_at"] = 1767323055 }},
		"instant with offset":  {change: func(_, d map[string]any) { mapOf(d["task"])["created_at"] = "2026-01-02T05:04:15.000+02:00" }},
		"day that is not":      {change: func(_, d map[string]any) { mapOf(d["task"])["created_at"] = "2026-02-30T05:04:15.000Z" }},
		"nested attributes":    {change: func(_, d map[string]any) { mapOf(d["agent"])["attributes"] = map[string]any{"a": map[string]any{}} }},
		"attributes null":      {change: func(_, d map[string]any) { mapOf(d["agent"])["attributes"] = nil }},
		"provider null":        {change: func(_, d map[string]any) { d["provider"] = nil }},
		"type not canonical":   {change: func(e, _ map[string]any) { e["type"] = "taskbridge.agent.moved.v1" }},
		"sequence not padded":  {change: func(e, _ map[string]any) { e["sequence"] = "1767300000-4690" }},
		"attribute missing":    {change: func(e, _ map[string]any) { delete(e, "partitionkey") }},
		"time null":            {change: func(e, _ map[string]any) { e["time"] = nil }},
		"other data schema":    {change: func(e, _ map[string]any) { e["dataschema"] = "urn:taskbridge:event-data:2.0" }},
		"member too many":      {change: func(_, d map[string]any) { mapOf(d["agent"])["skill"] = "x" }, openAllows: true},
		"block too many":       {change: func(_, d map[string]any) { d["survey"] = nil }, openAllows: true},
		"attribute too many":   {change: func(e, _ map[string]any) { e["tenant"] = "x" }, openAllows: true},
		"later minor revision": {change: func(e, d map[string]any) { e["dataschema"], d["survey"] = "urn:taskbridge:event-data:1.1", nil }, openAllows: true},
	} {
		t.Run(name, func(t *testing.T) {
			var e map[string]any
			if err := json.Unmarshal(structured(full(t)), &e); err != nil {
				t.Fatal(err)
			}
			tc.change(e, mapOf(e["data"]))
			doc, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, closed, doc); err == nil {
				t.Error("the closed schema accepts it")
			}
			if err := validate(t, open, doc); (err == nil) != tc.openAllows {
				t.Errorf("open schema: got %v, want allowed %t", err, tc.openAllows)
			}
		})
	}
}

// compareBlock holds the members of one object of the schema against the fields of one Go type, in both directions and in order.
func compareBlock(t *testing.T, name string, schema map[string]any, order []string, typ reflect.Type) {
	t.Helper()
	var want []string
	for f := range fields(typ) {
		want = append(want, f.Tag.Get("json"))
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("members of %s (-Go +schema):\n%s", name, diff)
	}
	if diff := cmp.Diff(want, texts(schema["required"])); diff != "" {
		t.Errorf("required members of %s (-want +got):\n%s", name, diff)
	}
	if name != "data" {
		if diff := cmp.Diff([]string{"object", "null"}, texts(schema["type"])); diff != "" {
			t.Errorf("type of %s (-want +got):\n%s", name, diff)
		}
	}
	for f := range fields(typ) {
		member := f.Tag.Get("json")
		got := mapOf(mapOf(schema["properties"])[member])
		path := name + "." + member
		want := shape(t, path, f.Type)
		for _, key := range []string{"$ref", "type", "enum"} {
			if diff := cmp.Diff(want[key], got[key]); diff != "" {
				t.Errorf("%s %s (-Go +schema):\n%s", path, key, diff)
			}
		}
	}
}

// shape is what the schema must say of a Go type.
func shape(t *testing.T, path string, typ reflect.Type) map[string]any {
	t.Helper()
	nullable := func(word string) any {
		if slices.Contains(neverNull, path) {
			return word
		}
		return []any{word, "null"}
	}
	member := path[strings.LastIndexByte(path, '.')+1:]
	switch typ {
	case reflect.TypeFor[event.Instant]():
		return map[string]any{"$ref": "#/$defs/instant"}
	case reflect.TypeFor[event.Null[int64]]():
		return map[string]any{"type": nullable("integer")}
	case reflect.TypeFor[event.Null[float64]]():
		return map[string]any{"type": nullable("number")}
	case reflect.TypeFor[event.Null[bool]]():
		return map[string]any{"type": nullable("boolean")}
	case reflect.TypeFor[json.RawMessage]():
		if member == "attributes" {
			return map[string]any{"type": "object"}
		}
		return map[string]any{} // raw: anything
	case reflect.TypeFor[int64]():
		return map[string]any{"type": "integer"}
	case reflect.TypeFor[[]string]():
		return map[string]any{"type": "array"}
	}
	switch {
	case typ.Kind() == reflect.Pointer:
		return map[string]any{"$ref": "#/$defs/" + member}
	case typ.Kind() != reflect.String:
		t.Fatalf("%s: no rule for a %s", path, typ)
		return nil
	}
	want := map[string]any{"type": nullable("string")}
	if list, ok := enums[typ]; ok {
		var enum []any
		for _, w := range list {
			enum = append(enum, w)
		}
		if !slices.Contains(neverNull, path) {
			enum = append(enum, nil)
		}
		want["enum"] = enum
	}
	return want
}

func fields(typ reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range typ.NumField() {
			if !yield(typ.Field(i)) {
				return
			}
		}
	}
}

// memberOrder is the order in which "properties" of the object at path (from the schema's root) are written in the file.
func memberOrder(t *testing.T, path ...string) []string {
	t.Helper()
	raw := json.RawMessage(schemas.Event)
	for _, name := range append(path, "properties") {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil {
			t.Fatal(err)
		}
		raw = object[name]
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func schemaDocument(t *testing.T) map[string]any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemas.Event))
	if err != nil {
		t.Fatalf("event.schema.json: %v", err)
	}
	return doc.(map[string]any)
}

// closedSchema is the published schema with every object that lists its members closed against others.
func closedSchema(t *testing.T) map[string]any {
	t.Helper()
	closed := 0
	var walk func(node any)
	walk = func(node any) {
		m := mapOf(node)
		if _, object := m["properties"]; object {
			m["additionalProperties"] = false
			closed++
		}
		for _, key := range []string{"$defs", "properties"} {
			for _, child := range mapOf(m[key]) {
				walk(child)
			}
		}
	}
	doc := schemaDocument(t)
	walk(doc)
	if want := 11; closed != want { // the envelope, data, and nine blocks
		t.Fatalf("closed %d objects, want %d", closed, want)
	}
	return doc
}

func compile(t *testing.T, doc map[string]any) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("urn:taskbridge:event:1.0", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:taskbridge:event:1.0")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, doc []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("not JSON: %v\n%s", err, doc)
	}
	return s.Validate(v)
}

func examples(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/examples/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("examples: %d files, %v", len(paths), err)
	}
	docs := map[string][]byte{}
	for _, p := range paths {
		doc, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		docs[filepath.Base(p)] = doc
	}
	return docs
}

func mapOf(v any) map[string]any { m, _ := v.(map[string]any); return m }

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, w := range list {
		s, _ := w.(string)
		out = append(out, s)
	}
	return out
}

func rename(m map[string]any, from, to string) {
	m[to] = m[from]
	delete(m, from)
}

package event_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// The hand-written encoder against encoding/json on the same types: the same members, order and values. A field that the encoder forgets
// turns this red, because full has all of them.
func TestAppendWritesEveryMember(t *testing.T) {
	type plain event.Data // without MarshalJSON
	d := full(t).Data
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	if err := enc.Encode((*plain)(&d)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(want.String()), string(d.Append(nil))); diff != "" {
		t.Errorf("(-encoding/json +Append):\n%s", diff)
	}
}

func TestAbsentIsNull(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(hollow().Data.Append(nil), &doc); err != nil {
		t.Fatal(err)
	}
	for block, present := range map[string][]string{
		"agent": {"id", "attributes"}, "task": {"attributes"}, "reservation": {"id", "status"}, "timing": {}, "transfer": {}, "channel": {},
		"session": {"state"}, "gap": {"state", "feed", "cause"}, "unmapped": {"size_bytes", "keys", "count"},
	} {
		var got []string
		for name, v := range mapOf(doc[block]) {
			if v != nil {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(present, got, sortTexts); diff != "" {
			t.Errorf("members of %s that are not null (-want +got):\n%s", block, diff)
		}
	}
	if err := json.Unmarshal(empty().Data.Append(nil), &doc); err != nil {
		t.Fatal(err)
	}
	for name, v := range doc {
		if present := name == "provider" || name == "account_id" || name == "site_id"; (v != nil) != present {
			t.Errorf("%s of an empty event: got %v", name, v)
		}
	}
}

var sortTexts = cmp.Transformer("sort", func(list []string) map[string]bool {
	set := map[string]bool{}
	for _, s := range list {
		set[s] = true
	}
	return set
})

// Figures that JSON has no form for must not break the document.
func TestAppendOfOddNumbers(t *testing.T) {
	for _, tc := range []struct {
		v    float64
		want string
	}{{math.Inf(1), "null"}, {math.Inf(-1), "null"}, {math.NaN(), "null"}, {0, "0"}, {66.67, "66.67"}, {1e21, "1000000000000000000000"}} {
		d := event.Data{Channel: &event.Channel{AvailablePercent: event.Some(tc.v)}}
		if got, want := string(d.Append(nil)), `"available_percent":`+tc.want+`,`; !strings.Contains(got, want) {
			t.Errorf("%g: got %s, want %s in it", tc.v, got, want)
		}
	}
}

var awkward = []string{
	`"quoted" and \backslash\`, "tab\tline\nreturn\rbell\abackspace\bfeed\fnull\x00del\x7f", "a\xffb\xc3\x28c\xed\xa0\x80", "\u2028 and \u2029",
	"<script>&amp;", "Åsa 漢字 🎧", "\ufeffbom", "\ufffd", `\u0041`, "\xf4\x90\x80\x80", strings.Repeat("\"", 300),
}

// asRead is what a JSON reader makes of s: each byte that is not UTF-8 is U+FFFD (as encoding/json has it).
func asRead(t testing.TB, s string) (out string) {
	t.Helper()
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStructuredOfAwkwardTexts(t *testing.T) {
	for _, s := range awkward {
		e := full(t)
		e.ID, e.Subject, e.Data.Task.Name = s, s, s
		e.Data.Unmapped.Keys = []string{s}
		doc := structured(e)
		var compact bytes.Buffer
		if err := json.Compact(&compact, doc); err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if !bytes.Equal(compact.Bytes(), doc) {
			t.Errorf("%q: not compact: %s", s, doc)
		}
		if !utf8.Valid(doc) { // which encoding/json does not mind
			t.Errorf("%q: not UTF-8: %q", s, doc)
		}
		got, gotSequence, err := event.ParseStructured(doc)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		want := full(t)
		want.ID, want.Subject, want.Data.Task.Name = asRead(t, s), asRead(t, s), asRead(t, s)
		want.Data.Unmapped.Keys = []string{asRead(t, s)}
		if diff := cmp.Diff(want, got); diff != "" || gotSequence != sequence {
			t.Errorf("%q: sequence %q, event (-want +got):\n%s", s, gotSequence, diff)
		}
	}
}

func FuzzAppendOfText(f *testing.F) {
	for _, s := range awkward {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := event.Data{AccountID: s}
		doc := d.Append(nil)
		var got event.Data
		if err := json.Unmarshal(doc, &got); err != nil || !utf8.Valid(doc) {
			t.Fatalf("%v: %q", err, doc)
		}
		if want := asRead(t, s); got.AccountID != want {
			t.Errorf("got %q, want %q", got.AccountID, want)
		}
	})
}

// Encode reuses the buffer; what it wrote before must not shine through.
func TestEncodeReusesItsBuffer(t *testing.T) {
	var enc event.Encoded
	full(t).Encode(&enc)
	empty().Encode(&enc)
	want := empty().Data.Append(nil)
	if !bytes.Equal(enc.Data, want) {
		t.Errorf("got %s, want %s", enc.Data, want)
	}
	if enc.Header.Agent != "" {
		t.Errorf("agent of an event without one: got %q", enc.Header.Agent)
	}
	e := full(t)
	if allocs := testing.AllocsPerRun(100, func() { e.Encode(&enc) }); allocs > 0 {
		t.Errorf("Encode into a buffer that fits: %g allocations, want 0", allocs)
	}
}

// CloudEvents 1.0.2, "Naming conventions": lower-case letters and digits, at most 20 characters wanted. The attributes are the same
// in both modes.
func TestAttributeNames(t *testing.T) {
	ok := regexp.MustCompile(`^[a-z0-9]{1,20}$`)
	attributes(full(t), func(name, value string) {
		if !ok.MatchString(name) {
			t.Errorf("attribute %q", name)
		}
		if value == "" {
			t.Errorf("attribute %s has no value", name)
		}
	})
	e := full(t)
	e.Subject, e.Time, e.CorrelationID = "", 0, ""
	attributes(e, func(name, value string) {
		if value == "" {
			t.Errorf("attribute %s is told without a value", name)
		}
	})
}

// Structured mode has the same attributes, each with the same text.
func TestStructuredHasTheAttributes(t *testing.T) {
	sparse := full(t)
	sparse.Subject, sparse.Time, sparse.CorrelationID = "", 0, ""
	for name, e := range map[string]*event.Event{"full": full(t), "sparse": sparse} {
		want := map[string]any{}
		attributes(e, func(name, value string) { want[name] = value })
		var got map[string]any
		if err := json.Unmarshal(structured(e), &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "data")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: attributes of structured mode (-want +got):\n%s", name, diff)
		}
	}
}

func attributes(e *event.Event, yield func(name, value string)) {
	var enc event.Encoded
	e.Encode(&enc)
	enc.Header.Attributes(sequence, yield)
}

func TestOfficialSDKReadsStructuredMode(t *testing.T) {
	for _, e := range []*event.Event{full(t), empty()} {
		var got cloudevents.Event
		if err := json.Unmarshal(structured(e), &got); err != nil {
			t.Fatal(err)
		}
		compareSDK(t, e, &got)
	}
	for name, doc := range examples(t) {
		var got cloudevents.Event
		if err := json.Unmarshal(doc, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, _, err := event.ParseStructured(doc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := got.Validate(); err != nil || got.ID() != want.ID || got.Type() != want.Type.Name() {
			t.Errorf("%s: got %s %s, %v", name, got.ID(), got.Type(), err)
		}
	}
}

// NATS has the header names of HTTP: ce- before the attribute's name; datacontenttype is the content type (CloudEvents HTTP binding, 3.1.1).
func TestOfficialSDKReadsBinaryMode(t *testing.T) {
	for _, e := range []*event.Event{full(t), empty()} {
		header := http.Header{}
		attributes(e, func(name, value string) {
			if name == "datacontenttype" {
				header.Set("Content-Type", value)
				return
			}
			header.Set("ce-"+name, value)
		})
		message := cehttp.NewMessage(header, nopCloser{bytes.NewReader(e.Data.Append(nil))})
		if got := message.ReadEncoding(); got != binding.EncodingBinary {
			t.Fatalf("got %s, want binary mode", got)
		}
		got, err := binding.ToEvent(t.Context(), message)
		if err != nil {
			t.Fatal(err)
		}
		compareSDK(t, e, got)
	}
}

// Kafka: ce_ before the name (CloudEvents Kafka binding, 3.2.3).
func TestOfficialSDKReadsKafkaHeaders(t *testing.T) {
	version := spec.WithPrefix("ce_").Version(event.SpecVersion)
	e := full(t)
	context := version.NewContext()
	attributes(e, func(name, value string) {
		var err error
		if a := version.Attribute("ce_" + name); a != nil && a.Kind() != spec.SpecVersion {
			err = a.Set(context, value)
		} else if a == nil {
			err = context.SetExtension(name, value)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	got := cloudevents.Event{Context: context, DataEncoded: e.Data.Append(nil)}
	compareSDK(t, e, &got)
}

func compareSDK(t *testing.T, want *event.Event, got *cloudevents.Event) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Errorf("the SDK refuses it: %v", err)
	}
	attributesOf := map[string]string{
		"specversion": got.SpecVersion(), "id": got.ID(), "source": got.Source(), "type": got.Type(), "subject": got.Subject(),
		"time": event.InstantOf(got.Time()).String(), "datacontenttype": got.DataContentType(), "dataschema": got.DataSchema(),
	}
	for name, v := range got.Extensions() {
		text, ok := v.(string)
		if !ok {
			t.Errorf("extension %s: got %T, want text", name, v)
		}
		attributesOf[name] = text
	}
	wantAttributes := map[string]string{}
	attributes(want, func(name, value string) { wantAttributes[name] = value })
	if diff := cmp.Diff(wantAttributes, attributesOf); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(want.Data.Append(nil)), string(got.Data())); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

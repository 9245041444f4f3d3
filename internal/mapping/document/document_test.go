package document

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// texts are what is easily read wrongly; each is also put into arrays and objects.
var texts = []string{
	``, ` `, "\ufeff1", `null`, `nul`, `nulll`, `true`, `tru`, `false`, `False`, `nan`, `NaN`, `Infinity`,
	`0`, `-0`, `-`, `+1`, `00`, `01`, `-01`, `1.`, `.5`, `0.5`, `1.5e`, `1e+`, `1e-7`, `1E400`, `5.0`, `1e3`, `0x10`, `1_000`, `0.8.3`, `9223372036854775808`,
	`123456789012345678901234567890.123456789012345678901234567890e-1234567890`,
	`""`, `"a"`, `"`, `"a`, `"a""`, `'a'`, `"\""`, `"\"`, `"\\"`, `"\\\"`, `"\/\b\f\n\r\t"`, `"\a"`, `"\x41"`, `"\u0041"`, `"\u004"`, `"\u004g"`, `"\u004G"`, `"\u00fF"`, `"\U0041"`,
	"\"\\u00\x104\"", `"\u0000"`, `"\uD83D\uDE00"`, `"\uD83D"`, `"\uDE00\uD83D"`, `"\uD83D\n"`, `"\ud83dx"`, "\"tab\t\"", "\"\x00\"", "\"\x1f\"", "\"\x7f\"",
	"\"line\n\"", `"Åsa 漢字 🎧"`, `"12345678"`, `"1234567\"89012345"`, `"1234567890123456\\"`,
	`[]`, `[`, `]`, `[1`, `[1,]`, `[,1]`, `[1,2]`, `[1 2]`, `[1}`, `[[],[[]],{}]`, `{}`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`,
	`{"a":1,"a":2}`, `{"":0}`, `{"\u0061":{"\"":[{"b":null}]},"c":[]}`, `{a:1}`, `{1:1}`, `{"a":1]`, `{"a"::1}`, `{"a":1,,"b":2}`, `{null:1}`,
	" \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } \n", "{\"a\":1}\v", "\f1", "1 2", "1\x00", "{}{}", "[]]", "/**/1", "1//",
}

func samples(t testing.TB) (list [][]byte) {
	t.Helper()
	files, err := filepath.Glob("../testdata/*/*.json")
	if err != nil || len(files) < 50 {
		t.Fatalf("samples: got %d files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// agrees holds what d makes of a text against two other readers: the same texts are JSON, and the same is in them.
func agrees(t *testing.T, d *Document, b []byte) {
	t.Helper()
	got, want := d.Read(b), json.Valid(b)
	if got != want || got != gjson.ValidBytes(b) {
		t.Fatalf("%q: got JSON %t, want %t", b, got, want)
	}
	if !got {
		if d.Root().Kind() != Absent {
			t.Fatalf("%q: not JSON, and has a value", b)
		}
		return
	}
	same(t, d.Root(), gjson.ParseBytes(b))
	if strings.Contains(strings.ToLower(string(b)), `\ud`) {
		return // of surrogates without their pair encoding/json makes something else
	}
	var meant any
	exact := json.NewDecoder(bytes.NewReader(b))
	exact.UseNumber()
	if err := exact.Decode(&meant); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(meant, meaning(d.Root())); diff != "" {
		t.Fatalf("%q (-encoding/json +got):\n%s", b, diff)
	}
}

var kinds = map[gjson.Type]Kind{gjson.Null: Null, gjson.False: False, gjson.True: True, gjson.Number: Number, gjson.String: String}

// same compares all values in order, with what is written twice.
func same(t *testing.T, v Value, g gjson.Result) {
	t.Helper()
	kind := kinds[g.Type]
	switch {
	case g.IsObject():
		kind = Object
	case g.IsArray():
		kind = Array
	}
	raw := g.Raw
	if kind == Object || kind == Array {
		raw = strings.TrimRight(raw, " \t\r\n") // of a whole document gjson takes the rest
	}
	if v.Kind() != kind || v.Raw() != raw || v.Text() != g.Str {
		t.Fatalf("got kind %d, %q, text %q, want kind %d, %q, text %q", v.Kind(), v.Raw(), v.Text(), kind, raw, g.Str)
	}
	var names []string
	var values []gjson.Result
	if kind == Object || kind == Array {
		g.ForEach(func(name, value gjson.Result) bool {
			names, values = append(names, name.Str), append(values, value)
			return true
		})
	}
	for name, member := range v.Members() {
		if len(names) == 0 || names[0] != name {
			t.Fatalf("%q: got the member %q, want the first of %q", raw, name, names)
		}
		same(t, member, values[0])
		names, values = names[1:], values[1:]
	}
	for item := range v.Items() {
		if len(values) == 0 {
			t.Fatalf("%q: got one item more", raw)
		}
		same(t, item, values[0])
		values = values[1:]
	}
	if len(values) > 0 {
		t.Fatalf("%q: got nothing of %v", raw, values)
	}
}

// meaning is v as encoding/json decodes it: of what is written twice the last counts.
func meaning(v Value) any {
	switch v.Kind() {
	case Object:
		members := map[string]any{}
		for name, member := range v.Members() {
			members[name] = meaning(member)
		}
		return members
	case Array:
		items := []any{}
		for item := range v.Items() {
			items = append(items, meaning(item))
		}
		return items
	case Number:
		return json.Number(v.Raw())
	case String:
		return v.Text()
	case True, False:
		return v.Kind() == True
	}
	return nil
}

func TestReadAgreesWithOthers(t *testing.T) {
	var d Document
	for _, text := range texts {
		for _, around := range []string{"%", "[%]", "[0,%,0]", `{"a":%}`, `{"a":%,"b":[%]}`, " % ", `{%:1}`} {
			agrees(t, &d, []byte(strings.ReplaceAll(around, "%", text)))
		}
	}
}

func TestReadAgreesWithOthersOnFrames(t *testing.T) {
	var d Document
	for _, b := range samples(t) {
		agrees(t, &d, b)
	}
}

// Each byte of a frame is left out, ends the text, or becomes another that means something in JSON.
func TestReadAgreesWithOthersOnDamage(t *testing.T) {
	b, err := os.ReadFile("../testdata/samples/reservation.accepted.json")
	if err != nil {
		t.Fatal(err)
	}
	var d Document
	for at, was := range b {
		valid(t, &d, b[:at])
		valid(t, &d, slices.Concat(b[:at], b[at+1:]))
		for _, c := range []byte("\"\\{}[],:0-.eEtu \n\x01") {
			b[at] = c
			valid(t, &d, b)
		}
		b[at] = was
	}
}

func valid(t *testing.T, d *Document, b []byte) {
	t.Helper()
	if got, want := d.Read(b), gjson.ValidBytes(b); got != want {
		t.Fatalf("%q: got JSON %t, want %t", b, got, want)
	}
}

// Each byte at each place among others, because eight are looked at together.
func TestPlain(t *testing.T) {
	for _, other := range []byte{' ', '!', 'a', 0x7f, 0x80, 0xff} {
		for c := range 256 {
			for at := range 20 {
				b := bytes.Repeat([]byte{other}, 20)
				b[at] = byte(c)
				want := at
				if c >= ' ' && c != '"' && c != '\\' {
					want = len(b)
				}
				if got := plain(b); got != want {
					t.Fatalf("plain(%q): got %d, want %d", b, got, want)
				}
			}
		}
	}
}

func TestTextsOutliveTheDocument(t *testing.T) {
	var d Document
	b := []byte(`{"name":"alice","list":[1,2,3]}`)
	d.Read(b)
	var kept []string
	for name, v := range d.Root().Members() {
		kept = append(kept, name, v.Raw(), v.Text())
	}
	clear(b)
	d.Read([]byte(`["something else, and longer than that",{}]`))
	if diff := cmp.Diff([]string{"name", `"alice"`, "alice", "list", "[1,2,3]", ""}, kept); diff != "" {
		t.Errorf("texts after the next one was read (-want +got):\n%s", diff)
	}
}

func TestNothingIsAbsent(t *testing.T) {
	var d Document
	for name, v := range map[string]Value{"no value": {}, "no text": d.Root()} {
		members, items := 0, 0
		for range v.Members() {
			members++
		}
		for range v.Items() {
			items++
		}
		if v.Kind() != Absent || v.Raw() != "" || v.Text() != "" || members+items != 0 {
			t.Errorf("%s: got kind %d, %q, %d members, %d items", name, v.Kind(), v.Raw(), members, items)
		}
	}
}

// Who has seen enough may stop.
func TestLoopsMayEndEarly(t *testing.T) {
	var d Document
	d.Read([]byte(`{"a":[1,2,3],"b":0}`))
	var seen []string
	for name, v := range d.Root().Members() {
		for item := range v.Items() {
			if seen = append(seen, name, item.Raw()); len(seen) == 4 {
				break
			}
		}
		break
	}
	if diff := cmp.Diff([]string{"a", "1", "a", "2"}, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The copy of the text is all that a document takes when it is used again.
func TestReadAllocatesTheCopyOnly(t *testing.T) {
	var d Document
	b := samples(t)[0]
	d.Read(b)
	if allocs := testing.AllocsPerRun(100, func() { d.Read(b) }); allocs > 1 {
		t.Errorf("got %g allocations, want 1", allocs)
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	for _, b := range samples(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const deep = 1000 // what the caller sees to
		if !utf8.Valid(b) || bytes.Count(b, []byte{'['})+bytes.Count(b, []byte{'{'}) > deep {
			return
		}
		var d Document
		agrees(t, &d, b)
	})
}

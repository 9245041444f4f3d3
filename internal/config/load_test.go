package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The types below stand for what packages and cmd/bridge declare.
type settings struct {
	Sources []source          `yaml:"sources"`
	Sinks   []*broker         `yaml:"sinks"`
	Spool   spool             `yaml:"spool"`
	Privacy map[string]string `yaml:"privacy"`
	Debug   bool              `yaml:"debug"`
	Ratio   float64           `yaml:"ratio"`
	Port    uint16            `yaml:"port"`

	internal string
	Passed   func() // no yaml name: given by the program
}

type source struct {
	Name       string      `yaml:"name"`
	TaskRouter *taskRouter `yaml:"taskrouter"`
}

func (s source) Validate() error {
	var ps Problems
	ps.Required("name", s.Name, "a name that no other source has")
	if s.TaskRouter == nil {
		ps.Add("", "no kind of source", "taskrouter")
	}
	return ps.Err()
}

type taskRouter struct {
	Account       string   `yaml:"account"`
	Workspace     string   `yaml:"workspace"`
	APISecret     Secret   `yaml:"api_secret"`
	APISecretFile Path     `yaml:"api_secret_file"`
	Agents        agents   `yaml:"agents"`
	Silence       Duration `yaml:"silence"`
	Dialect       string   `yaml:"dialect"`
	Dials         int      `yaml:"dials"`
}

func (c *taskRouter) SetDefaults() {
	c.Silence, c.Dialect, c.Dials = Duration(30*time.Second), "v2", 50
}

var accountPattern = regexp.MustCompile(`^AC[0-9a-f]{32}$`)

func (c *taskRouter) Validate() error {
	var ps Problems
	ps.Match("account", c.Account, accountPattern, "AC followed by 32 hex digits")
	ps.RequireSecret("api_secret", c.APISecret, c.APISecretFile)
	ps.OneOf("dialect", c.Dialect, "v1", "v2")
	Between(&ps, "silence", c.Silence, Duration(time.Second), Duration(48*time.Hour))
	Between(&ps, "dials", c.Dials, 1, 1000)
	return ps.Err()
}

// agents is a word or a list.
type agents []string

func (a *agents) UnmarshalText(text []byte) error {
	if string(text) != "all" {
		return fmt.Errorf("not a known word: %s", text)
	}
	*a = nil
	return nil
}

type broker struct {
	URL string `yaml:"url"`
}

type spool struct {
	Dir Path `yaml:"dir"`
	Max Size `yaml:"max_bytes"`
}

func (s spool) Validate() error {
	if s.Dir == "" {
		return Problem{Path: "dir", What: "missing", Allowed: "a folder"}
	}
	if s.Max < 1<<20 {
		return errors.New("max_bytes leaves no room")
	}
	return nil
}

func defaults() settings {
	return settings{Spool: spool{Dir: "/var/lib/bridge", Max: 1 << 30}, Privacy: map[string]string{"gone": "drop"}, Port: 8080}
}

const account = "AC0123456789abcdef0123456789abcdef"

func TestLoad(t *testing.T) {
	t.Setenv("BRIDGE_SECRET", "hunter2: {evil: true}")
	t.Setenv("BRIDGE_PORT", "9090")
	t.Setenv("BRIDGE_DIGITS", "0042")
	folder := t.TempDir()
	file := filepath.Join(folder, "bridge.yaml")
	text := `
sources:
  - name: ${BRIDGE_DIGITS}
    taskrouter: {account: ` + account + `, api_secret: "${BRIDGE_SECRET}", agents: all, dials: 7}
  - name: 123
    taskrouter:
      account: ` + account + `
      api_secret_file: ./secret
      agents: [alice, bob]
      silence: 1d12h
sinks:
  - url: nats://127.0.0.1:4222
spool:
  max_bytes: 256MiB
privacy: {"a.b": keep}
debug: true
ratio: 0.5
port: ${BRIDGE_PORT}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := defaults()
	if err := Load(file, &got); err != nil {
		t.Fatal(err)
	}
	want := settings{
		Sources: []source{
			{"0042", &taskRouter{
				Account: account, APISecret: NewSecret("hunter2: {evil: true}"), Silence: Duration(30 * time.Second), Dialect: "v2", Dials: 7,
			}},
			{"123", &taskRouter{
				Account: account, APISecretFile: Path(filepath.Join(folder, "secret")), Agents: agents{"alice", "bob"},
				Silence: Duration(36 * time.Hour), Dialect: "v2", Dials: 50,
			}},
		},
		Sinks:   []*broker{{"nats://127.0.0.1:4222"}},
		Spool:   spool{Dir: "/var/lib/bridge", Max: 256 << 20},
		Privacy: map[string]string{"a.b": "keep"}, // not merged with the default
		Debug:   true, Ratio: 0.5, Port: 9090,
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Passed" || p.String() == "internal" }, cmp.Ignore())
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("settings differ (-want +got):\n%s", diff)
	}
}

func TestLoadNoFile(t *testing.T) {
	var c settings
	err := Load(filepath.Join(t.TempDir(), "none.yaml"), &c)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

// Who needs one section is not kept from it by what is wrong with another, and is told everything that is wrong with her own.
func TestLoadPart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bridge.yaml")
	if err := os.WriteFile(file, []byte("sources: [{secret: \"${BRIDGE_TEST_UNSET}\"}]\nspool: {dir: /x, max_bytes: 1MiB, max: 1}\nport: ${BRIDGE_TEST_UNSET}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c struct {
		Spool spool `yaml:"spool"`
	}
	err := LoadPart(file, &c)
	if want := file + ":2:35: spool.max: unknown key; allowed: dir, max_bytes"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestProblems(t *testing.T) {
	t.Setenv("BRIDGE_SECRET", "hunter2")
	t.Setenv("BRIDGE_EMPTY", "")
	good := "sources: [{name: a, taskrouter: {account: " + account + ", api_secret_file: s}}]\n"
	tests := []struct{ name, text, want string }{
		{
			"unknown key", "sources:\n  - name: a\n    taskrouter:\n      workspce: WS\n      account: " + account + "\n      api_secret_file: s\n",
			`bridge.yaml:4:7: sources[0].taskrouter.workspce: unknown key; allowed: account, agents, api_secret, api_secret_file, ` +
				`dialect, dials, silence, workspace (did you mean "workspace"?)`,
		},
		{"unknown key, nothing near", "x: 1\n", `bridge.yaml:1:1: x: unknown key; allowed: debug, port, privacy, ratio, sinks, sources, spool`},
		{"odd key", "\"a\\nb\": 1\n", `bridge.yaml:1:1: ["a\nb"]: unknown key; allowed: debug, port, privacy, ratio, sinks, sources, spool`},
		{"duplicate key", "debug: true\nport: 1\ndebug: false\n", `bridge.yaml:3:1: debug: given twice, first on line 1; allowed: each key once`},
		{"duplicate map key", "privacy:\n  a.b: x\n  a.b: y\n", `bridge.yaml:3:3: privacy["a.b"]: given twice, first on line 2; allowed: each key once`},
		{"complex key", "privacy:\n  [a]: x\n", `bridge.yaml:2:3: privacy: got a mapping or list as key; allowed: text`},
		{
			"wrong types", "debug: 1\nport: \"80\"\nratio: much\nprivacy: []\nsinks: {}\nspool: big\n", `
bridge.yaml:1:8: debug: wrong type; allowed: true or false
bridge.yaml:2:7: port: wrong type; allowed: a whole number
bridge.yaml:3:8: ratio: wrong type; allowed: a number
bridge.yaml:4:10: privacy: got a list; allowed: a mapping
bridge.yaml:5:8: sinks: got a mapping; allowed: a list
bridge.yaml:6:8: spool: got a single value; allowed: a mapping with the keys dir, max_bytes`,
		},
		{"text and mapping", "sinks:\n  - url: {a: b}\n", `bridge.yaml:2:10: sinks[0].url: got a mapping; allowed: text`},
		{"bare true as text", "sinks:\n  - url: true\n", `bridge.yaml:2:10: sinks[0].url: wrong type; allowed: text (true and false in quotes)`},
		{"range", "port: 65536\n", `bridge.yaml:1:7: port: out of range; allowed: 0 to 65535`},
		{"octal", "port: 017\n", `bridge.yaml:1:7: port: wrong type; allowed: a whole number`},
		{"infinite", "ratio: .inf\n", `bridge.yaml:1:8: ratio: wrong type; allowed: a number`},
		{"no value", "spool:\nport: ~\n", `
bridge.yaml:1:7: spool: no value; allowed: a value, or leave the key out
bridge.yaml:2:7: port: no value; allowed: a value, or leave the key out`},
		{"anchor", "sinks:\n  - &x {url: a}\n  - *x\n", `
bridge.yaml:2:5: sinks[0]: anchors, aliases and merge keys are not supported; allowed: the value written out
bridge.yaml:3:5: sinks[1]: anchors, aliases and merge keys are not supported; allowed: the value written out`},
		{"merge", "spool: {<<: {dir: x}}\n", `bridge.yaml:1:9: spool["<<"]: anchors, aliases and merge keys are not supported; allowed: the value written out`},
		{"tag", "port: !!int \"1\"\n", `bridge.yaml:1:7: port: tags are not supported; allowed: the value without a tag`},
		{"empty", "", `bridge.yaml:1:1: the file is empty; allowed: a mapping with the keys debug, port, privacy, ratio, sinks, sources, spool`},
		{"comments only", "# nothing\n", `bridge.yaml:1:1: the file is empty; allowed: a mapping with the keys debug, port, privacy, ratio, sinks, sources, spool`},
		{"separator only", "---\n", `bridge.yaml:1:1: the file is empty; allowed: a mapping with the keys debug, port, privacy, ratio, sinks, sources, spool`},
		{"a list", "- a\n", `bridge.yaml:1:1: got a list; allowed: a mapping with the keys debug, port, privacy, ratio, sinks, sources, spool`},
		{"two documents", "port: 1\n---\nport: 2\n", `bridge.yaml:3:1: a second YAML document starts here; allowed: one document per file`},
		{"syntax", "port: 1\n\tdebug: true\n", `bridge.yaml:2: not valid YAML: found a tab character that violates indentation`},
		{"syntax without line", "port: *nobody\n", `bridge.yaml: not valid YAML: unknown anchor 'nobody' referenced`},
		{"units", good + "spool:\n  dir: x\n  max_bytes: 1.5GB\n", `bridge.yaml:4:14: spool.max_bytes: not a size; ` +
			`allowed: a whole number of bytes, or with a unit, such as 64KiB, 256MiB, 1GB`},
		{
			"validate: positions", "sources:\n  - taskrouter:\n      account: AC1\n      silence: 7d\n      dialect: v3\n      dials: 0\n  - name: b\n", `
bridge.yaml:2:5: sources[0].name: missing; allowed: a name that no other source has
bridge.yaml:2:5: sources[0].taskrouter.api_secret: missing; allowed: put it into a file and set api_secret_file, ` +
				`or write api_secret: ${NAME} for an environment variable
bridge.yaml:3:16: sources[0].taskrouter.account: not valid; allowed: AC followed by 32 hex digits
bridge.yaml:4:16: sources[0].taskrouter.silence: out of range; allowed: 1s to 2d
bridge.yaml:5:16: sources[0].taskrouter.dialect: not a known word; allowed: v1, v2
bridge.yaml:6:14: sources[0].taskrouter.dials: out of range; allowed: 1 to 1000
bridge.yaml:7:5: sources[1]: no kind of source; allowed: taskrouter`,
		},
		{"validate: other errors", "spool: {max_bytes: 1}\n", `bridge.yaml:1:1: spool: max_bytes leaves no room`},
		{
			"validate: silent about what was not decoded", "sources:\n  - name: [a]\n    taskrouter: true\n  - 7\n", `
bridge.yaml:2:11: sources[0].name: got a list; allowed: text
bridge.yaml:3:17: sources[0].taskrouter: got a single value; allowed: a mapping with the keys account, agents, api_secret, api_secret_file, ` +
				`dialect, dials, silence, workspace
bridge.yaml:4:5: sources[1]: got a single value; allowed: a mapping with the keys name, taskrouter`,
		},
		{
			"word or list", strings.Replace(good, "api_secret_file: s", "api_secret_file: s, agents: {a: 1}", 1),
			`bridge.yaml:1:107: sources[0].taskrouter.agents: got a mapping; allowed: a single value or a list`,
		},
		{
			"error of a foreign type", strings.Replace(good, "api_secret_file: s", "api_secret_file: s, agents: some", 1),
			`bridge.yaml:1:107: sources[0].taskrouter.agents: not a known word: some`,
		},
		{"variable not set", "port: ${BRIDGE_NONE}\n", `bridge.yaml:1:7: port: environment variable BRIDGE_NONE is not set; ` +
			`allowed: set it before the bridge starts: export BRIDGE_NONE=…`},
		{"variable in a longer text", "sinks: [{url: \"nats://${BRIDGE_SECRET}@host\"}]\n", `bridge.yaml:1:15: sinks[0].url: ` +
			`${…} inside a longer text is not replaced; allowed: ${NAME} as the whole value, the name of letters, digits and underscores`},
		{"variable in a key", "privacy: {\"${BRIDGE_SECRET}\": keep}\n", `bridge.yaml:1:11: privacy["${BRIDGE_SECRET}"]: ` +
			`${…} in a key is not replaced; allowed: ${NAME} as a whole value`},
		{"variable of the wrong type", "port: ${BRIDGE_SECRET}\n", `bridge.yaml:1:7: port: wrong type (the value of ${BRIDGE_SECRET}); ` +
			`allowed: a whole number`},
		{
			"variable that a foreign type refuses", strings.Replace(good, "api_secret_file: s", "api_secret_file: s, agents: \"${BRIDGE_SECRET}\"", 1),
			`bridge.yaml:1:107: sources[0].taskrouter.agents: not valid (the value of ${BRIDGE_SECRET})`,
		},
		{"secret in the file", strings.Replace(good, "api_secret_file: s", "api_secret: hunter2", 1), `bridge.yaml:1:91: sources[0].taskrouter.api_secret: ` +
			`a secret in the configuration file itself; allowed: put it into a file and set api_secret_file, ` +
			`or write api_secret: ${NAME} for an environment variable`},
		{"empty secret", strings.Replace(good, "api_secret_file: s", "api_secret: \"${BRIDGE_EMPTY}\"", 1), `bridge.yaml:1:91: sources[0].taskrouter.api_secret: ` +
			`empty (the value of ${BRIDGE_EMPTY}); allowed: the secret's text`},
		{
			"secret twice", strings.Replace(good, "api_secret_file: s", "api_secret_file: s, api_secret: \"${BRIDGE_SECRET}\"", 1),
			`bridge.yaml:1:111: sources[0].taskrouter.api_secret: set together with api_secret_file; allowed: one of the two`,
		},
		{"empty path", good + "spool: {dir: \"\"}\n", `bridge.yaml:2:14: spool.dir: empty; allowed: a path`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := defaults()
			err := Parse("bridge.yaml", []byte(test.text), &c)
			if err == nil {
				t.Fatal("got no error")
			}
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), err.Error()); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestValidateWithoutFile(t *testing.T) {
	c := defaults()
	c.Spool.Dir = ""
	c.Sources = []source{{Name: "a", TaskRouter: &taskRouter{Account: account, APISecretFile: "s", Silence: Duration(time.Minute), Dials: 1}}}
	want := "sources[0].taskrouter.dialect: not a known word; allowed: v1, v2\nspool.dir: missing; allowed: a folder"
	if diff := cmp.Diff(want, fmt.Sprint(Validate(&c))); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
	c.Sources, c.Spool.Dir = nil, "x"
	if err := Validate(&c); err != nil {
		t.Errorf("got %v, want none", err)
	}
}

// FuzzParse: whatever the file holds, Parse returns, and every error is one line that begins with the file's name.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "a: [1, {b: c}]", "sources: [{name: a, taskrouter: {account: AC, silence: 1d, agents: all}}]", "spool: {dir: x, max_bytes: 1MiB}",
		"? [a]\n: b", "<<: *a", "port: ${X}", "- &a [*a]", "a: !!binary x\n---\nb", "privacy: {\"a\\nb\": |\n  x}", "\xef\xbb\xbfport: 1", "ratio: 1e400",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := defaults()
		err := Parse("f.yaml", data, &c)
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "f.yaml:") {
				t.Errorf("got the line %q in %q, want each to begin with the file's name", line, err)
			}
		}
	})
}

type inner struct {
	A int `yaml:"a"`
	B int `yaml:"b"`
}

func (i *inner) SetDefaults() { i.A, i.B = 1, 1 }

type outer struct {
	Inner inner `yaml:"inner"`
	C     int   `yaml:"c"`
}

func (o *outer) SetDefaults() { o.Inner.B, o.C = 2, 2 }

func TestDefaults(t *testing.T) {
	type all struct {
		Top  outer            `yaml:"top"`
		List []outer          `yaml:"list"`
		Map  map[string]inner `yaml:"map"`
	}
	got := all{Top: outer{C: 7}}
	if err := Parse("f.yaml", []byte("top: {inner: {a: 3}}\nlist: [{c: 4}, {inner: {a: 5}}]\nmap: {x: {b: 6}}\n"), &got); err != nil {
		t.Fatal(err)
	}
	want := all{
		Top:  outer{inner{3, 0}, 7}, // the caller's
		List: []outer{{inner{1, 2}, 4}, {inner{5, 2}, 2}},
		Map:  map[string]inner{"x": {1, 6}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings differ (-want +got):\n%s", diff)
	}
}

// A field that cannot be configured well is a mistake in the program, found by the first test that sets it.
func TestUnsupportedFieldPanics(t *testing.T) {
	for name, into := range map[string]any{
		"time.Duration": &struct {
			A time.Duration `yaml:"a"`
		}{},
		"interface": &struct {
			A any `yaml:"a"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			_ = Parse("f.yaml", []byte("a: 30"), into)
		})
	}
}

type vendorSection struct {
	Account string `yaml:"account"`
	Region  string `yaml:"region"`
}

func (v *vendorSection) SetDefaults() { v.Region = "us1" }

func (v *vendorSection) Validate() error {
	var ps Problems
	ps.Required("account", v.Account, "an account")
	return ps.Err()
}

// TestInline: a section put together from two structs reads like one, with the embedded one's defaults, checks and positions.
func TestInline(t *testing.T) {
	type section struct {
		vendorSection `yaml:",inline"`
		Agents        []string `yaml:"agents"`
	}
	var c struct {
		Source *section `yaml:"source"`
	}
	if err := Parse("c.yaml", []byte("source: {account: a, agents: [x]}\n"), &c); err != nil {
		t.Fatal(err)
	}
	if got := *c.Source; got.Account != "a" || got.Region != "us1" || len(got.Agents) != 1 {
		t.Errorf("got %+v, want account a, region us1, one agent", got)
	}
	c.Source = nil
	err := Parse("c.yaml", []byte("source:\n  agents: [x]\n  regoin: ie1\n"), &c)
	want := "c.yaml:1:1: source.account: missing; allowed: an account\n" +
		"c.yaml:3:3: source.regoin: unknown key; allowed: account, agents, region (did you mean \"region\"?)"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// everyone is a section with a word, a list and a mapping as its forms.
type everyone struct {
	IDs  []string `yaml:",list"`
	All  bool     `yaml:"all"`
	File Path     `yaml:"file"`
}

func (e *everyone) UnmarshalText(text []byte) error {
	if string(text) != "all" {
		return Problem{What: "not a known word", Allowed: "all"}
	}
	e.All = true
	return nil
}

func (e *everyone) Validate() error {
	var ps Problems
	for i, id := range e.IDs {
		ps.Required(fmt.Sprintf("[%d]", i), id, "an id")
	}
	return ps.Err()
}

func TestListInPlaceOfAMapping(t *testing.T) {
	for document, test := range map[string]struct {
		want    everyone
		problem string
	}{
		"agents: all":              {want: everyone{All: true}},
		"agents: {all: true}":      {want: everyone{All: true}},
		"agents: {file: a.txt}":    {want: everyone{File: "a.txt"}},
		"agents: [x, y]":           {want: everyone{IDs: []string{"x", "y"}}},
		"agents:\n  - x\n  - \"\"": {problem: "f.yaml:3:5: agents[1]: missing; allowed: an id"},
		"agents: [x, {a: 1}]":      {problem: "f.yaml:1:13: agents[1]: got a mapping; allowed: text"},
		"agents: some":             {problem: "f.yaml:1:9: agents: not a known word; allowed: all"},
		"agents: {fiel: a}":        {problem: "f.yaml:1:10: agents.fiel: unknown key; allowed: all, file"},
	} {
		var got struct {
			Agents everyone `yaml:"agents"`
		}
		problem := ""
		if err := Parse("f.yaml", []byte(document), &got); err != nil {
			problem = err.Error()
		}
		if diff := cmp.Diff(test.problem, problem); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", document, diff)
		}
		if diff := cmp.Diff(test.want, got.Agents); problem == "" && diff != "" {
			t.Errorf("%s: (-want +got):\n%s", document, diff)
		}
	}
	var whole everyone
	if err := Parse("f.yaml", nil, &whole); err == nil || !strings.HasSuffix(err.Error(), "allowed: a single value or a list or a mapping with the keys all, file") {
		t.Errorf("got %v, want all three forms named", err)
	}
}

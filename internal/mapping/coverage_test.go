package mapping

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/event"
)

// docs/coverage.md is held against the golden files, the mappers and the protocol notes, each in both directions where both ends can be listed.

// covered is one row of docs/coverage.md.
type covered struct {
	section string
	cells   []string
}

func (r covered) word() string  { return strings.Trim(r.cells[0], "`") }
func (r covered) proof() string { return r.cells[len(r.cells)-1] }

// types are the canonical types that the row names.
func (r covered) types() (list []event.Type) {
	for _, word := range quoted(r.cells[len(r.cells)-2]) {
		if slices.Contains(event.Types, event.Type(word)) {
			list = append(list, event.Type(word))
		}
	}
	return list
}

// goldens are the files that the row's proof names; nil where it names none.
func (r covered) goldens(t *testing.T) []string {
	t.Helper()
	if !strings.HasPrefix(r.proof(), "`") {
		return nil
	}
	files, err := filepath.Glob("testdata/" + strings.Trim(r.proof(), "`"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s: %s names no golden file (%v)", r.cells[0], r.proof(), err)
	}
	return files
}

var betweenQuotes = regexp.MustCompile("`([^`]+)`")

func quoted(text string) (list []string) {
	for _, m := range betweenQuotes.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// tables are the rows of a document's tables, without their headings.
func tables(text string) (rows []covered) {
	section, line := "", 0
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if s, ok := strings.CutPrefix(l, "## "); ok {
			section = s
		}
		if !strings.HasPrefix(l, "|") {
			line = 0
			continue
		}
		if line++; line <= 2 { // the heading and what is below it
			continue
		}
		cells := strings.Split(strings.Trim(l, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, covered{section, cells})
	}
	return rows
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func coverage(t *testing.T) []covered { return tables(readText(t, "../../docs/coverage.md")) }

// Sections of the page that list a dialect's messages, by the folder of its golden files.
var eventSections = map[string]string{"taskrouter": "Twilio v2: events", "taskrouter_v1": "Twilio v1: events"}

func TestCoverageGoldenFiles(t *testing.T) {
	named := map[string]bool{}
	for _, r := range coverage(t) {
		if !strings.HasPrefix(r.proof(), "`") && !slices.Contains([]string{"bridge", "source", "later", "none"}, r.proof()) {
			t.Errorf("%s, %s: got proof %q, want a pattern of golden files, bridge, source, later or none", r.section, r.cells[0], r.proof())
		}
		files := r.goldens(t)
		if files == nil {
			continue
		}
		oneMessage := r.cells[0] == "`"+r.word()+"`"
		proved := map[event.Type]bool{}
		control := false
		for _, file := range files {
			named[file] = true
			g := readGolden(t, file)
			if oneMessage && gjson.GetBytes(g.Frame.Body, "event_type").Str != r.word() {
				continue
			}
			control = control || g.Outcome == Control.String()
			for _, e := range g.Events {
				for _, typ := range event.Types {
					proved[typ] = proved[typ] || typ.Name() == gjson.GetBytes(e, "type").Str
				}
			}
		}
		for _, want := range r.types() {
			if !proved[want] && !control {
				t.Errorf("%s, %s: no file of %s shows that it becomes %s", r.section, r.cells[0], r.proof(), want)
			}
		}
		if len(r.types()) == 0 && !control {
			t.Errorf("%s, %s: no file of %s shows that it is housekeeping", r.section, r.cells[0], r.proof())
		}
	}
	for _, file := range goldens(t) {
		if !named[file] {
			t.Errorf("docs/coverage.md does not name %s", file)
		}
	}
}

func TestCoverageKnowsTheMappers(t *testing.T) {
	rows := coverage(t)
	for folder, mapper := range dialects {
		d := mapper(nil).dialect
		said := map[string]event.Type{}
		for _, r := range rows {
			if r.section == eventSections[folder] && len(r.types()) == 1 && strings.HasPrefix(r.proof(), "`") {
				said[r.word()] = r.types()[0]
			}
			if r.section == eventSections[folder] && slices.Contains(d.control, r.word()) {
				said[r.word()] = "control"
			}
		}
		for word, want := range d.types {
			if said[word] != want {
				t.Errorf("%s: the mapper makes %s of %s, docs/coverage.md says %q", folder, want, word, said[word])
			}
		}
		for _, word := range d.control {
			if said[word] != "control" {
				t.Errorf("%s: docs/coverage.md does not say that %s is housekeeping", folder, word)
			}
		}
	}
	var types []event.Type
	for _, r := range rows {
		types = append(types, r.types()...)
	}
	for _, want := range event.Types {
		if !slices.Contains(types, want) {
			t.Errorf("docs/coverage.md does not say where %s comes from", want)
		}
	}
}

// section is the part of a document below a heading that begins so, down to the next heading.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(doc, "\n"+heading)
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	part, _, _ := strings.Cut(rest, "\n#")
	return part
}

func TestCoverageKnowsTheProtocols(t *testing.T) {
	twilio, connect := readText(t, "../../docs/protocols/twilio-taskrouter.md"), readText(t, "../../docs/protocols/amazon-connect.md")
	// The protocols' words by the section of the page.
	wanted := map[string][]string{}
	for _, r := range tables(section(t, twilio, "## 6. ")) {
		wanted["Twilio v2: events"] = append(append(wanted["Twilio v2: events"], quoted(r.cells[0])...), quoted(r.cells[2])...)
	}
	for _, r := range tables(section(t, twilio, "### 7.4 ")) {
		wanted["Twilio v2: methods"] = append(wanted["Twilio v2: methods"], r.cells[0])
	}
	words, _, _ := strings.Cut(section(t, twilio, "### 10.4 "), "**")
	for _, word := range quoted(words) {
		switch {
		case strings.HasPrefix(word, "."):
			word = "reservation" + word
		case word == "worker.", strings.HasPrefix(word, "{"): // the prefix that is cut off; what an error holds
			continue
		}
		wanted["Twilio v1: events"] = append(wanted["Twilio v1: events"], word)
	}
	for _, r := range tables(section(t, twilio, "### 10.3 ")) {
		wanted["Twilio v1: methods"] = append(wanted["Twilio v1: methods"], r.cells[0])
	}
	for _, r := range tables(section(t, connect, "## 5. ")) {
		if strings.HasPrefix(r.cells[1], "on") { // the other table is about fields
			wanted["Amazon Connect: events"] = append(wanted["Amazon Connect: events"], r.word(), r.cells[1])
		}
	}
	_, methods, _ := strings.Cut(connect, "\n## 8. ")
	methods, _, _ = strings.Cut(methods, "\n## ")
	wanted["Amazon Connect: methods"] = regexp.MustCompile(`agent\.\w+`).FindAllString(strings.Join(regexp.MustCompile(`\n### .*`).FindAllString(methods, -1), ""), -1)
	for _, r := range tables(section(t, connect, "### 3.5 ")) {
		for _, word := range strings.Split(r.cells[0], ", ") {
			word, _, _ = strings.Cut(word, " (")
			wanted["Amazon Connect: methods"] = append(wanted["Amazon Connect: methods"], word)
		}
	}
	counts := map[string]int{ // as many as the notes list: a table that is no longer found must not look like one that is covered
		"Twilio v2: events": 45, "Twilio v2: methods": 31, "Twilio v1: events": 17, "Twilio v1: methods": 8, "Amazon Connect: events": 10,
		"Amazon Connect: methods": 18,
	}
	said := map[string]string{}
	for _, r := range coverage(t) {
		said[r.section] += strings.Join(r.cells, "\n") + "\n"
	}
	for part, count := range counts {
		if got := len(wanted[part]); got != count {
			t.Errorf("%s: the protocol notes list %d words, want %d: %q", part, got, count, wanted[part])
		}
		cells := strings.Split(said[part], "\n")
		for _, word := range wanted[part] {
			if !slices.ContainsFunc(cells, func(cell string) bool { return cell == word || slices.Contains(quoted(cell), word) }) {
				t.Errorf("%s: docs/coverage.md does not have %s", part, word)
			}
		}
	}
}

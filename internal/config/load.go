// Package config reads the bridge's configuration: one YAML document, decoded strictly into Go structs.
//
// Every package owns its Config struct with yaml tags, and cmd/bridge composes them. A field without a yaml name is not configurable.
// Defaults come first: the caller fills the value it passes to Load, and what Load creates itself (list elements, map values, pointers)
// fills itself by SetDefaults. Then the file is decoded over them; a list or map in the file replaces its default. Then Validate is
// called on every value that has it, outer before inner, so that no Validate needs to call another. All problems are returned together,
// joined, each a [Problem] of one line.
//
// A section can have short forms: text, where it implements encoding.TextUnmarshaler, and a list, which fills its field tagged ",list".
//
// The dialect is a subset of YAML on purpose: one document, no anchors, aliases, merge keys or tags, no key without a value. A scalar
// which is ${NAME} as a whole is replaced by that environment variable after parsing, so its content can never add YAML.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Defaulter is implemented (on the pointer) by types whose values Load creates: SetDefaults is called before the file is decoded over
// them, on structs nested by value first.
type Defaulter interface{ SetDefaults() }

// largestDocument bounds a configuration in bytes: a list of some 20,000 agents.
const largestDocument Size = 1 << 20

// Load reads the file at path, a regular one or a pipe of at most 1 MiB, into the struct that into points to. Relative [Path] values start from the file's
// folder. The error joins every [Problem] found; after an error the struct's content is undefined.
func Load(path string, into any) error {
	data, err := readDocument(path)
	if err != nil {
		return err
	}
	return Parse(path, data, into)
}

// LoadPart is Load of some of a document's sections, for programs that need no more: into has them, the other sections are neither decoded nor checked, and the
// variables and files that they name need not exist.
func LoadPart(path string, into any) error {
	data, err := readDocument(path)
	if err != nil {
		return err
	}
	return parse(path, data, into, true)
}

func readDocument(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0 {
		err = fmt.Errorf("%s is neither a regular file nor a pipe", path)
	}
	var data []byte
	if err == nil {
		data, err = readAtMost(path, largestDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// Parse is Load for content already read; file is the path that errors name and relative paths start from.
func Parse(file string, data []byte, into any) error { return parse(file, data, into, false) }

func parse(file string, data []byte, into any, partly bool) error {
	d := decoder{dir: filepath.Dir(file), partly: partly, at: map[string]position{}, failed: map[string]bool{}}
	v := reflect.ValueOf(into).Elem()
	if root := d.document(data, v.Type()); root != nil {
		d.at[""] = position{root.Line, root.Column}
		d.value("", root, v)
		validate("", v, d.invalid)
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	var all Problems
	for _, p := range d.problems {
		p.File = file
		all = append(all, p)
	}
	return all.Err()
}

// document parses data to the root node of its only document; nil when that failed, and the problem is noted.
func (d *decoder) document(data []byte, t reflect.Type) *yaml.Node {
	in := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := in.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && doc.Content[0].Tag == "!!null" {
		d.problems = append(d.problems, Problem{Line: 1, Column: 1, What: "the file is empty", Allowed: wanted(t)})
		return nil
	}
	if err == nil {
		if err = in.Decode(&second); err == nil {
			n := second.Content[0]
			d.problems = append(d.problems, Problem{
				Line: n.Line, Column: n.Column, What: "a second YAML document starts here", Allowed: "one document per file",
			})
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		d.problems = append(d.problems, syntaxProblem(err))
		return nil
	}
	return doc.Content[0]
}

var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxProblem takes the line out of the YAML package's message: it has no type for it.
func syntaxProblem(err error) Problem {
	m := syntaxError.FindStringSubmatch(err.Error())
	if m == nil {
		return Problem{What: "not valid YAML: " + err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	return Problem{Line: line, What: "not valid YAML: " + m[2]}
}

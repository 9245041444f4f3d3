package config

import (
	"encoding"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder writes one document into a Go value and notes what does not fit.
type decoder struct {
	dir      string
	partly   bool // sections that the value does not have are none of its business
	problems []Problem
	at       map[string]position // by path: a scalar's own place, the place of the key of everything else
	failed   map[string]bool     // by path: the value could not be decoded, so what Validate says about it means nothing
}

type position struct{ line, column int }

var kindNames = map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}

var (
	secretType = reflect.TypeFor[Secret]()
	pathType   = reflect.TypeFor[Path]()
)

// fail notes that the value at path, which stands at n, could not be decoded.
func (d *decoder) fail(path string, n *yaml.Node, what, allowed string) {
	d.failed[path] = true
	if name, ok := strings.CutSuffix(path, "_file"); ok {
		d.failed[name] = true // the other one of a pair, see RequireSecret: it is not missing
	}
	d.problems = append(d.problems, Problem{Line: n.Line, Column: n.Column, Path: path, What: what, Allowed: allowed})
}

// invalid adds the position to a problem that Validate found; it drops one about a value that could not be decoded.
func (d *decoder) invalid(p Problem) {
	found := false
	for path := p.Path; ; {
		if d.failed[path] {
			return
		}
		if at, ok := d.at[path]; ok && !found {
			p.Line, p.Column, found = at.line, at.column, true
		}
		if path == "" {
			break
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	d.problems = append(d.problems, p)
}

// value decodes n into v, which is addressable.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.ScalarNode {
		d.at[path] = position{n.Line, n.Column}
	}
	if what, allowed := unsupported(n); what != "" {
		d.fail(path, n, what, allowed)
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			setDefaults(v.Elem())
		}
		v = v.Elem()
	}
	_, fromText := v.Addr().Interface().(encoding.TextUnmarshaler)
	short, hasShort := listField(v.Type())
	switch {
	case n.Kind == yaml.SequenceNode && hasShort:
		d.list(path, n, v.Field(short))
	case n.Kind == yaml.MappingNode && len(fieldsOf(v.Type())) > 0:
		d.structure(path, n, v)
	case n.Kind == yaml.MappingNode && v.Kind() == reflect.Map:
		d.entries(path, n, v)
	case n.Kind == yaml.SequenceNode && v.Kind() == reflect.Slice:
		d.list(path, n, v)
	case n.Kind == yaml.ScalarNode && (fromText || isScalar(v.Type())):
		d.scalar(path, n, v)
	default:
		d.fail(path, n, "got "+kindNames[n.Kind], wanted(v.Type()))
	}
}

// unsupported says which feature of YAML the node uses that configurations may not; What is empty when none.
func unsupported(n *yaml.Node) (what, allowed string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge":
		return "anchors, aliases and merge keys are not supported", "the value written out"
	case n.Style&yaml.TaggedStyle != 0:
		return "tags are not supported", "the value without a tag"
	case n.Tag == "!!null":
		return "no value", "a value, or leave the key out"
	}
	return "", ""
}

// keys calls use for each usable key of the mapping n.
func (d *decoder) keys(path string, n *yaml.Node, use func(path string, key, value *yaml.Node)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := joinPath(path, pathKey(key.Value))
		line, again := first[key.Value]
		what, allowed := unsupported(key)
		switch {
		case what != "":
			d.fail(at, key, what, allowed)
		case key.Kind != yaml.ScalarNode:
			d.fail(path, key, "got a mapping or list as key", "text")
		case again:
			d.fail(at, key, fmt.Sprintf("given twice, first on line %d", line), "each key once")
		default:
			first[key.Value] = key.Line
			d.at[at] = position{key.Line, key.Column}
			use(at, key, value)
		}
	}
}

func (d *decoder) structure(path string, n *yaml.Node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	whole := path != "" || !d.partly
	d.keys(path, n, func(path string, key, value *yaml.Node) {
		for _, f := range fields {
			if f.key == key.Value {
				d.value(path, value, v.FieldByIndex(f.index))
				return
			}
		}
		if whole {
			d.fail(path, key, "unknown key", suggest(key.Value, keysOf(v.Type())))
		}
	})
}

func (d *decoder) entries(path string, n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.keys(path, n, func(path string, key, value *yaml.Node) {
		if strings.Contains(key.Value, "${") {
			d.fail(path, key, "${…} in a key is not replaced", "${NAME} as a whole value")
			return
		}
		entry := reflect.New(v.Type().Elem()).Elem()
		setDefaults(entry)
		d.value(path, value, entry)
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), entry)
	})
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		at := itemPath(path, i)
		d.at[at] = position{item.Line, item.Column}
		setDefaults(v.Index(i))
		d.value(at, item, v.Index(i))
	}
}

// setDefaults prepares a value that the decoder has created.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		setDefaults(v.FieldByIndex(f.index))
	}
	if own, ok := v.Addr().Interface().(Defaulter); ok {
		own.SetDefaults()
	}
}

// scalar decodes n, after the replacement of ${NAME}, into v.
func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	text, variable, err := expand(n.Value)
	switch {
	case err != nil:
	case v.Type() == secretType:
		switch {
		case variable == "":
			err = Problem{What: "a secret in the configuration file itself", Allowed: secretAllowed(path[strings.LastIndexByte(path, '.')+1:])}
		case text == "":
			err = Problem{What: "empty", Allowed: "the secret's text"}
		default:
			v.Set(reflect.ValueOf(NewSecret(text)))
		}
	case v.Type() == pathType:
		switch {
		case text == "":
			err = Problem{What: "empty", Allowed: "a path"}
		case !filepath.IsAbs(text):
			text = filepath.Join(d.dir, text)
		}
		v.SetString(text)
	default:
		tag := n.Tag
		if variable != "" {
			tag = ""
		}
		err = setScalar(v, text, tag)
	}
	if err == nil {
		return
	}
	var p Problem
	if !errors.As(err, &p) {
		p.What = err.Error()
		if variable != "" { // the message of a foreign type may quote the text
			p.What = "not valid"
		}
	}
	if variable != "" {
		p.What += " (the value of ${" + variable + "})"
	}
	d.fail(path, n, p.What, p.Allowed)
}

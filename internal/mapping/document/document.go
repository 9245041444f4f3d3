// Package document reads JSON texts (RFC 8259) that are not trusted, and of which most is not wanted: one pass checks a text and takes it apart, and
// nothing is converted before somebody asks for it. It imports nothing of the project.
package document

import (
	"iter"

	"github.com/tidwall/gjson"
)

// Document is one JSON text, taken apart; the zero value is none. [Document.Read] uses the same memory for the next text, and a [Value] is valid
// until then. Texts that a value has given stay as they are. Not safe for concurrent use.
type Document struct {
	text  string
	nodes []node // in the order of the text: a value, then all that is in it; a member is its name, a string, then its value
}

// node is one value of a document, or a member's name.
type node struct {
	from, to int // the bytes of the text, with quotes or brackets
	after    int // index of the node behind this one and all that is in it
	kind     Kind
	escaped  bool // a string with a backslash in it
}

// Root is the value that the text is; absent where it is none.
func (d *Document) Root() Value {
	if len(d.nodes) == 0 {
		return Value{}
	}
	return Value{doc: d}
}

// Value is one value of a document. The zero value is absent.
type Value struct {
	doc *Document
	at  int
}

// Kind is what a value is.
type Kind uint8

// The kinds of RFC 8259, section 3, and what stands for no value at all.
const (
	Absent Kind = iota
	Null
	False
	True
	Number
	String
	Object
	Array
)

// Kind is what v is.
func (v Value) Kind() Kind {
	if v.doc == nil {
		return Absent
	}
	return v.node().kind
}

func (v Value) node() *node { return &v.doc.nodes[v.at] }

// Raw is v as it is written: a piece of the text; empty where v is absent.
func (v Value) Raw() string {
	if v.doc == nil {
		return ""
	}
	n := v.node()
	return v.doc.text[n.from:n.to]
}

// Text is what a string says: a piece of the text, unless it has escapes. A surrogate without its pair is U+FFFD. Empty for all other kinds.
func (v Value) Text() string {
	if v.Kind() != String {
		return ""
	}
	n := v.node()
	if n.escaped {
		return gjson.Parse(v.doc.text[n.from:n.to]).Str
	}
	return v.doc.text[n.from+1 : n.to-1]
}

// Members goes over the members of an object in order, by their names; a name that is written twice comes twice. Nothing for all other kinds.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.Kind() != Object {
			return
		}
		for name, end := v.at+1, v.node().after; name < end; {
			value := Value{v.doc, name + 1}
			if !yield(Value{v.doc, name}.Text(), value) {
				return
			}
			name = value.node().after
		}
	}
}

// Items goes over the items of an array in order. Nothing for all other kinds.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != Array {
			return
		}
		for item, end := (Value{v.doc, v.at + 1}), v.node().after; item.at < end; item.at = item.node().after {
			if !yield(item) {
				return
			}
		}
	}
}

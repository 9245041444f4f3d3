package document

import (
	"encoding/binary"
	"math/bits"
)

// Read takes text apart, of which it makes a copy, and reports whether it is JSON: one value as RFC 8259 has it, with nothing around it but white
// space. That text is UTF-8, and how deep it is nested, is the caller's to check first: nesting is followed down the stack.
func (d *Document) Read(text []byte) bool {
	d.text, d.nodes = "", d.nodes[:0]
	if end := space(text, d.value(text, space(text, 0))); end != len(text) {
		d.nodes = d.nodes[:0]
		return false
	}
	d.text = string(text)
	return true
}

// What follows reads what begins at b[i] and returns where that ends, or bad where it is not what it has to be.

// bad is an offset at which there is nothing, so that an error falls through whatever is tried next.
const bad = -1

// at is b[i], or a byte that begins and ends nothing where there is none.
func at(b []byte, i int) byte {
	if uint(i) < uint(len(b)) {
		return b[i]
	}
	return 0
}

func space(b []byte, i int) int {
	for c := at(b, i); c == ' ' || c == '\n' || c == '\t' || c == '\r'; c = at(b, i) {
		i++
	}
	return i
}

// value reads any value, with all that is in it.
func (d *Document) value(b []byte, i int) (end int) {
	index := len(d.nodes)
	d.nodes = append(d.nodes, node{from: i})
	kind, escaped := Number, false
	switch at(b, i) {
	case '{':
		kind, end = Object, d.members(b, i+1)
	case '[':
		kind, end = Array, d.items(b, i+1)
	case '"':
		kind = String
		end, escaped = quoted(b, i+1)
	case 't':
		kind, end = True, literal(b, i, "true")
	case 'f':
		kind, end = False, literal(b, i, "false")
	case 'n':
		kind, end = Null, literal(b, i, "null")
	default:
		end = number(b, i)
	}
	n := &d.nodes[index]
	n.to, n.after, n.kind, n.escaped = end, len(d.nodes), kind, escaped
	return end
}

// members reads an object behind its bracket.
func (d *Document) members(b []byte, i int) int {
	i = space(b, i)
	if at(b, i) == '}' {
		return i + 1
	}
	for at(b, i) == '"' {
		i = space(b, d.value(b, i)) // its name
		if at(b, i) != ':' {
			return bad
		}
		i = space(b, d.value(b, space(b, i+1)))
		switch at(b, i) {
		case ',':
			i = space(b, i+1)
		case '}':
			return i + 1
		default:
			return bad
		}
	}
	return bad
}

// items reads an array behind its bracket.
func (d *Document) items(b []byte, i int) int {
	i = space(b, i)
	if at(b, i) == ']' {
		return i + 1
	}
	for {
		i = space(b, d.value(b, i))
		switch at(b, i) {
		case ',':
			i = space(b, i+1)
		case ']':
			return i + 1
		default:
			return bad
		}
	}
}

func literal(b []byte, i int, word string) int {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end
	}
	return bad
}

// number is RFC 8259, section 6.
func number(b []byte, i int) int {
	if at(b, i) == '-' {
		i++
	}
	if at(b, i) == '0' {
		i++
	} else {
		i = digits(b, i)
	}
	if at(b, i) == '.' {
		i = digits(b, i+1)
	}
	if c := at(b, i); c == 'e' || c == 'E' {
		i++
		if c := at(b, i); c == '+' || c == '-' {
			i++
		}
		i = digits(b, i)
	}
	return i
}

// digits reads one digit or more.
func digits(b []byte, i int) int {
	first := i
	for c := at(b, i); '0' <= c && c <= '9'; c = at(b, i) {
		i++
	}
	if i == first {
		return bad
	}
	return i
}

// quoted reads a string behind its opening quote (RFC 8259, section 7); escaped reports whether it has escapes.
func quoted(b []byte, i int) (end int, escaped bool) {
	for i != bad {
		i += plain(b[i:])
		switch at(b, i) {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i = escape(b, i+1)
		default: // a control character, or no end
			return bad, escaped
		}
	}
	return bad, escaped
}

// escape reads an escape behind its backslash.
func escape(b []byte, i int) int {
	switch at(b, i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for range 4 {
			i++
			if c := at(b, i); ('0' > c || c > '9') && ('a' > c || c > 'f') && ('A' > c || c > 'F') {
				return bad
			}
		}
		return i + 1
	}
	return bad
}

// plain is how many bytes b begins with that stand for themselves in a string: all but quotes, backslashes and control characters.
func plain(b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		if special := specials(binary.LittleEndian.Uint64(b[n:])); special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// specials looks at eight bytes at once: the lowest bit that is set is in the first byte that is not plain. A byte has its top bit set by a
// subtraction that it is too small for; the borrow that it takes then spoils only the bytes after it.
func specials(eight uint64) uint64 {
	const each, top = 0x0101010101010101, 0x8080808080808080
	control := (eight - each*' ') &^ eight
	quote := eight ^ each*'"'
	backslash := eight ^ each*'\\'
	return (control | (quote-each)&^quote | (backslash-each)&^backslash) & top
}

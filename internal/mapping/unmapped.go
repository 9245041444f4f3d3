package mapping

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"unicode/utf8"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// reason is why a frame, or a part of it, could not be mapped: a bounded word, empty where it could.
type reason string

const (
	notUTF8      reason = "not_utf8"
	tooDeep      reason = "too_deep" // nested deeper than maxDepth
	notJSON      reason = "not_json"
	notObject    reason = "not_object"
	noEventType  reason = "no_event_type"
	unknownType  reason = "unknown_type"
	noPayload    reason = "no_payload"    // null payloads too
	missingField reason = "missing_field" // something without which an event has no id
	badValue     reason = "bad_value"     // an id or a status that cannot be what it stands for
	otherAgent   reason = "other_agent"   // told about an agent other than the one whose session brought it
	otherFeed    reason = "other_feed"    // this dialect has no such feed
)

// maxDepth is how deep a document may be nested: the vendors' go to 3, and a reader would follow a hostile one down the stack.
const maxDepth = 64

// object reads body, which is to be one JSON object, into doc.
func object(doc *document.Document, body []byte) (document.Value, reason) {
	switch {
	case !utf8.Valid(body):
		return document.Value{}, notUTF8
	case deeper(body, maxDepth):
		return document.Value{}, tooDeep
	case !doc.Read(body):
		return document.Value{}, notJSON
	case doc.Root().Kind() != document.Object:
		return document.Value{}, notObject
	}
	return doc.Root(), ""
}

// deeper reports whether doc is nested deeper than limit. What has no more brackets than that cannot be: nearly every frame is
// decided by two counts.
func deeper(doc []byte, limit int) bool {
	if bytes.Count(doc, []byte{'{'})+bytes.Count(doc, []byte{'['}) <= limit {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// maxID is how long a vendor's id may be; TaskRouter's have 34 characters.
const maxID = 64

// checkIDs checks the ids that event ids, subjects and keys are made of. A colon would blur where one part of an event id ends, a line
// break would end a broker's header.
func checkIDs(ids ...string) reason {
	for _, id := range ids {
		if id == "" {
			return missingField
		}
		if len(id) > maxID {
			return badValue
		}
		for i := range len(id) {
			switch c := id[i]; {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return badValue
			}
		}
	}
	return ""
}

// describe is what may be told of a frame that could not be mapped: never its content.
func describe(body []byte, doc document.Value, typeRaw string, why reason) *event.Unmapped {
	const maxKeys, maxName = 16, 64
	sum := sha256.Sum256(body)
	u := &event.Unmapped{
		TypeRaw: cut(typeRaw, maxName), SizeBytes: int64(len(body)), SHA256: hex.EncodeToString(sum[:]), Reason: string(why), Count: 1,
	}
	for name := range doc.Members() {
		if u.Keys = append(u.Keys, cut(name, maxName)); len(u.Keys) == maxKeys {
			break
		}
	}
	return u
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

package event

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// What appends one member of a JSON object. It is an append encoder because the data document is built once for every event:
// encoding/json costs several times as much (docs/decisions/0003-encoding.md). name is the member's name as it is to be written, with what
// surrounds it: `,"id":`.

func text(b []byte, name, v string) []byte {
	b = append(b, name...)
	if v == "" {
		return null(b)
	}
	return appendString(b, v)
}

func integer(b []byte, name string, v Null[int64]) []byte {
	b = append(b, name...)
	if !v.OK {
		return null(b)
	}
	return strconv.AppendInt(b, v.V, 10)
}

// number renders what JSON has no form for as null: a vendor's 1e999 is read as +Inf.
func number(b []byte, name string, v Null[float64]) []byte {
	b = append(b, name...)
	if !v.OK || math.IsInf(v.V, 0) || math.IsNaN(v.V) {
		return null(b)
	}
	return strconv.AppendFloat(b, v.V, 'f', -1, 64)
}

func boolean(b []byte, name string, v Null[bool]) []byte {
	b = append(b, name...)
	if !v.OK {
		return null(b)
	}
	return strconv.AppendBool(b, v.V)
}

func instant(b []byte, name string, v Instant) []byte {
	b = append(b, name...)
	if v == 0 {
		return null(b)
	}
	return v.appendQuoted(b)
}

func raw(b []byte, name string, v json.RawMessage, absent string) []byte {
	b = append(b, name...)
	if len(v) == 0 {
		return append(b, absent...)
	}
	return append(b, v...)
}

// block appends a member that is an object or null.
func block[B any, P interface {
	*B
	append(b []byte) []byte
}](b []byte, name string, v P) []byte {
	b = append(b, name...)
	if v == nil {
		return null(b)
	}
	return v.append(b)
}

func null(b []byte) []byte { return append(b, "null"...) }

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259, section 7). Invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	n := 0 // nearly every text is plain to its end
	for n < len(s) && s[n] >= ' ' && s[n] != '"' && s[n] != '\\' && s[n] < utf8.RuneSelf {
		n++
	}
	dst = append(dst, '"')
	dst = append(dst, s[:n]...)
	if n < len(s) {
		dst = appendEscaped(dst, s[n:])
	}
	return append(dst, '"')
}

func appendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c < utf8.RuneSelf && c >= ' ' && c != '"' && c != '\\':
			i++
			continue
		case c < utf8.RuneSelf:
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			i++
			start = i
			continue
		}
		if r, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
		} else {
			i += size
		}
	}
	return append(dst, s[start:]...)
}

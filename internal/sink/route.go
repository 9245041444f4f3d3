package sink

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// DefaultRoute is the subject template of a NATS sink that names none.
const DefaultRoute = "contact.{provider}.{account}.{noun}.{verb}.{agent}"

// Route makes the NATS subject of a record from a template of tokens joined by dots. A token is literal text or one placeholder:
//
//	{provider} {account} {agent}   of the event; an event of no single agent has none
//	{noun} {verb}                  the two parts of its type
//	{partition} {partition:N}      the hash of its partition key, modulo 16 or N
//
// What a placeholder brings is escaped, so that it is always exactly one token: ASCII letters, digits, - and _ stay, every other byte
// becomes %XX (upper-case hex); empty text becomes _ and the text _ becomes %5F. Different values never give the same token.
//
// A Route is immutable and safe for concurrent use.
type Route struct{ tokens []token }

type token struct {
	literal   string // set, or one of the others is
	value     func(*spool.Record) string
	partition uint32 // the modulus
}

const (
	defaultPartitions = 16
	maxPartitions     = 16384
)

var placeholders = map[string]func(*spool.Record) string{
	"provider": func(r *spool.Record) string { return string(r.Header.Provider) },
	"account":  func(r *spool.Record) string { return r.Header.Account },
	"agent":    func(r *spool.Record) string { return r.Header.Agent },
	"noun":     func(r *spool.Record) string { return r.Header.Type.Noun() },
	"verb":     func(r *spool.Record) string { return r.Header.Type.Verb() },
}

// RouteAllowed describes a valid template, for the errors of configurations.
const RouteAllowed = "tokens joined by dots, the first of them literal; a token is letters, digits, - and _, or one of {provider}, {account}, " +
	"{noun}, {verb}, {agent}, {partition}, {partition:N} with N from 1 to 16384"

// ParseRoute checks and compiles a template. The error says what is wrong with which token; [RouteAllowed] says what is allowed.
func ParseRoute(template string) (*Route, error) {
	var r Route
	for i, text := range strings.Split(template, ".") {
		t, err := parseToken(text)
		if err == nil && i == 0 && t.literal == "" {
			err = errors.New("must be literal, else the stream's subject covers the broker's own subjects")
		}
		if err != nil {
			return nil, fmt.Errorf("token %d, %q: %w", i+1, text, err)
		}
		r.tokens = append(r.tokens, t)
	}
	return &r, nil
}

func parseToken(text string) (token, error) {
	inner, ok := strings.CutPrefix(text, "{")
	if !ok {
		if text == "" {
			return token{}, errors.New("empty")
		}
		for i := range len(text) {
			if !plain(text[i]) {
				return token{}, fmt.Errorf("the character %q", text[i:i+1])
			}
		}
		return token{literal: text}, nil
	}
	inner, ok = strings.CutSuffix(inner, "}")
	name, argument, given := strings.Cut(inner, ":")
	if name == "partition" && ok {
		n := uint64(defaultPartitions)
		if given {
			var err error
			if n, err = strconv.ParseUint(argument, 10, 32); err != nil || n < 1 || n > maxPartitions {
				return token{}, errors.New("a number of partitions out of range")
			}
		}
		return token{partition: uint32(n)}, nil
	}
	value := placeholders[name]
	if !ok || given || value == nil {
		return token{}, errors.New("not a known placeholder")
	}
	return token{value: value}, nil
}

// Append appends the subject of rec to dst.
func (r *Route) Append(dst []byte, rec *spool.Record) []byte {
	for i := range r.tokens {
		if i > 0 {
			dst = append(dst, '.')
		}
		switch t := &r.tokens[i]; {
		case t.value != nil:
			dst = appendToken(dst, t.value(rec))
		case t.partition > 0:
			dst = strconv.AppendUint(dst, uint64(rec.Key%t.partition), 10)
		default:
			dst = append(dst, t.literal...)
		}
	}
	return dst
}

// Wildcard is the subject that covers everything Append can produce: * for each placeholder.
func (r *Route) Wildcard() string {
	var tokens []string
	for _, t := range r.tokens {
		if t.literal == "" {
			tokens = append(tokens, "*")
			continue
		}
		tokens = append(tokens, t.literal)
	}
	return strings.Join(tokens, ".")
}

// plain reports whether c may stand in a token as it is.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func appendToken(dst []byte, value string) []byte {
	switch value {
	case "":
		return append(dst, '_')
	case "_":
		return append(dst, "%5F"...)
	}
	const hex = "0123456789ABCDEF"
	for i := range len(value) {
		if c := value[i]; plain(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return dst
}

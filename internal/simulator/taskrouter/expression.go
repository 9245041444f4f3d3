package taskrouter

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// expression parses the part of TargetWorkersExpression that this simulator knows: comparisons with ==, !=, IN and HAS, joined by AND.
// Each side is a path into the worker's attributes (level, location.city), a text in single or double quotes, a number, true, false, or a
// list in brackets. The vendor knows more (OR, parentheses, order): that is refused with 400 rather than misunderstood.
type expression struct {
	source string
	tokens []string
}

// operand gives a value for a worker's attributes; a path that leads nowhere gives nil.
type operand func(attributes map[string]any) any

var tokenPattern = regexp.MustCompile(`^\s*("[^"]*"|'[^']*'|==|!=|[\[\],]|-?\d+(?:\.\d+)?|[A-Za-z_][\w.]*)`)

func parseExpression(source string) (matches func(attributes string) bool, err error) {
	e := &expression{source: source}
	for rest := source; strings.TrimSpace(rest) != ""; {
		m := tokenPattern.FindStringSubmatch(rest)
		if m == nil {
			return nil, e.refuse(rest)
		}
		e.tokens = append(e.tokens, m[1])
		rest = rest[len(m[0]):]
	}
	var all []operand
	for {
		c, err := e.comparison()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if len(e.tokens) == 0 {
			break
		}
		if and := e.next(); !strings.EqualFold(and, "AND") {
			return nil, e.refuse(and)
		}
	}
	return func(text string) bool {
		var attributes map[string]any
		_ = json.Unmarshal([]byte(text), &attributes) // no object: every path leads nowhere
		return !slices.ContainsFunc(all, func(c operand) bool { return c(attributes) != true })
	}, nil
}

func (e *expression) refuse(at string) error {
	return badRequest("TargetWorkersExpression %q: not understood at %q; simulated are ==, !=, IN and HAS, joined by AND", e.source, at)
}

// next returns "" at the end.
func (e *expression) next() string {
	if len(e.tokens) == 0 {
		return ""
	}
	t := e.tokens[0]
	e.tokens = e.tokens[1:]
	return t
}

func (e *expression) comparison() (operand, error) {
	left, err := e.value()
	if err != nil {
		return nil, err
	}
	op := e.next()
	right, err := e.value()
	if err != nil {
		return nil, err
	}
	var compare func(l, r any) bool
	switch strings.ToUpper(op) {
	case "==":
		compare = same
	case "!=":
		compare = func(l, r any) bool { return !same(l, r) }
	case "IN":
		compare = func(l, r any) bool { return contains(r, l) }
	case "HAS":
		compare = contains
	default:
		return nil, e.refuse(op)
	}
	return func(a map[string]any) any { return compare(left(a), right(a)) }, nil
}

func (e *expression) value() (operand, error) {
	t := e.next()
	switch {
	case t == "[":
		list := []any{}
		for sep := t; sep != "]"; sep = e.next() {
			if sep != "[" && sep != "," {
				return nil, e.refuse(sep)
			}
			item, err := e.value()
			if err != nil {
				return nil, err
			}
			list = append(list, item(nil)) // members are literals
		}
		return func(map[string]any) any { return list }, nil
	case t == "", strings.ContainsAny(t[:1], `],=!`):
		return nil, e.refuse(t)
	case t[0] == '"' || t[0] == '\'':
		return func(map[string]any) any { return t[1 : len(t)-1] }, nil
	}
	var literal any
	if json.Unmarshal([]byte(t), &literal) == nil { // number, true, false, null
		return func(map[string]any) any { return literal }, nil
	}
	path := strings.Split(t, ".")
	return func(a map[string]any) any {
		var v any = a
		for _, name := range path {
			object, _ := v.(map[string]any)
			v = object[name]
		}
		return v
	}, nil
}

func same(l, r any) bool { return l != nil && reflect.DeepEqual(l, r) }

func contains(list, item any) bool {
	l, _ := list.([]any)
	return slices.ContainsFunc(l, func(member any) bool { return same(member, item) })
}

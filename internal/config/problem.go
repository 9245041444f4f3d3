package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration. A Validate method fills Path, What and Allowed; Load adds where that path
// stands in the file, or its nearest parent when it is absent. It never holds the content of a secret or of an environment variable.
type Problem struct {
	File         string
	Line, Column int    // from 1; 0: unknown
	Path         string // from the validated value on: "account", "streams[0].name"; empty: the value itself
	What         string // what is wrong: "missing", "unknown key"
	Allowed      string // what would be right: "AC followed by 32 hex digits"; empty where What says it
}

// Error is one line: FILE:LINE:COLUMN: PATH: what is wrong; allowed: what would be right.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		for _, n := range []int{p.Line, p.Column} {
			if n > 0 {
				fmt.Fprintf(&b, ":%d", n)
			}
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Allowed != "" {
		b.WriteString("; allowed: " + p.Allowed)
	}
	return b.String()
}

// Problems collects what a Validate method finds; the zero value is ready. Its checks print what is allowed, never the value.
type Problems []Problem

// Err joins the problems; nil when there are none.
func (ps Problems) Err() error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// Add notes a problem.
func (ps *Problems) Add(path, what, allowed string) {
	*ps = append(*ps, Problem{Path: path, What: what, Allowed: allowed})
}

// Required notes an empty value.
func (ps *Problems) Required(path, value, allowed string) {
	if value == "" {
		ps.Add(path, "missing", allowed)
	}
}

// Match notes a value that is empty or that the pattern does not match.
func (ps *Problems) Match(path, value string, pattern *regexp.Regexp, allowed string) {
	ps.Required(path, value, allowed)
	if value != "" && !pattern.MatchString(value) {
		ps.Add(path, "not valid", allowed)
	}
}

// OneOf notes a value outside a closed set.
func (ps *Problems) OneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		ps.Add(path, "not a known word", strings.Join(allowed, ", "))
	}
}

// RequireSecret notes a pair of keys (name, name_file) of which not exactly one is set.
func (ps *Problems) RequireSecret(name string, value Secret, file Path) {
	if value.IsZero() && file == "" {
		ps.Add(name, "missing", secretAllowed(name))
	}
	ps.OptionalSecret(name, value, file)
}

// OptionalSecret notes a pair of keys (name, name_file) of which both are set.
func (ps *Problems) OptionalSecret(name string, value Secret, file Path) {
	if !value.IsZero() && file != "" {
		ps.Add(name, "set together with "+name+"_file", "one of the two")
	}
}

// Between notes a value outside [low, high].
func Between[T cmp.Ordered](ps *Problems, path string, value, low, high T) {
	if value < low || value > high {
		ps.Add(path, "out of range", fmt.Sprintf("%v to %v", low, high))
	}
}

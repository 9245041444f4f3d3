package sink

import (
	"fmt"
	"slices"
	"strings"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Filter says which events a sink gets: those that every list lets through. An empty list lets all through, so the zero value does.
//
// A filter decides what consumers of the sink may rely on: without session.gap they are not told what they missed.
type Filter struct {
	// Types are canonical types, such as reservation.accepted, or all of a noun: reservation.*
	Types []string `yaml:"types"`
	// Providers are event.Providers.
	Providers []string `yaml:"providers"`
	// Accounts are the vendors' ids of accounts, as events have them in data.account_id.
	Accounts []string `yaml:"accounts"`
	// Origins are event.Origins.
	Origins []string `yaml:"origins"`
}

// Problems calls report for everything that is wrong with the filter: the path in it, and what is allowed. providers and accounts are those that the
// sources have: a filter by any other would let nothing through and say so to nobody.
func (f *Filter) Problems(providers []event.Provider, accounts []string, report func(path, what, allowed string)) {
	check := func(list string, got []string, known func(string) bool, allowed string) {
		if got != nil && len(got) == 0 { // [] could be read as all or as nothing
			report(list, "empty", allowed+"; leave it out for all")
		}
		for i, word := range got {
			path := fmt.Sprintf("%s[%d]", list, i)
			switch first := slices.Index(got, word); {
			case !known(word):
				report(path, "not a known word", allowed)
			case first < i:
				report(path, fmt.Sprintf("given twice, first as [%d]", first), "each word once")
			}
		}
	}
	oneOf := func(list string, got, allowed []string) {
		check(list, got, func(word string) bool { return slices.Contains(allowed, word) }, strings.Join(allowed, ", "))
	}
	check("types", f.Types, func(pattern string) bool {
		return slices.ContainsFunc(event.Types, func(t event.Type) bool { return matches(pattern, t) })
	}, typesAllowed())
	oneOf("providers", f.Providers, words(providers))
	oneOf("accounts", f.Accounts, accounts)
	oneOf("origins", f.Origins, words(event.Origins))
}

func words[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

// typesAllowed names the nouns; all types would fill a screen.
func typesAllowed() string {
	var nouns []string
	for _, t := range event.Types {
		if noun := t.Noun() + ".*"; !slices.Contains(nouns, noun) {
			nouns = append(nouns, noun)
		}
	}
	return strings.Join(nouns, ", ") + ", or one type as docs/events.md has it without taskbridge. and .v1, such as reservation.accepted"
}

// matches takes a type, or all of a noun.
func matches(pattern string, t event.Type) bool {
	if noun, all := strings.CutSuffix(pattern, ".*"); all {
		return noun == t.Noun()
	}
	return pattern == string(t)
}

// Keep is the filter as the log's cursors take it; nil: everything gets through. It is for a filter without problems.
func (f *Filter) Keep() func(*event.Header) bool {
	if len(f.Types)+len(f.Providers)+len(f.Accounts)+len(f.Origins) == 0 {
		return nil
	}
	types := map[event.Type]bool{}
	for _, t := range f.Through() {
		types[t] = true
	}
	in := func(list []string, word string) bool { return len(list) == 0 || slices.Contains(list, word) }
	return func(h *event.Header) bool {
		return types[h.Type] && in(f.Providers, string(h.Provider)) && in(f.Accounts, h.Account) && in(f.Origins, string(h.Origin))
	}
}

// Through lists the types that the filter's list of types lets through, in the order of the documentation.
func (f *Filter) Through() []event.Type {
	if len(f.Types) == 0 {
		return event.Types
	}
	var through []event.Type
	for _, t := range event.Types {
		if slices.ContainsFunc(f.Types, func(pattern string) bool { return matches(pattern, t) }) {
			through = append(through, t)
		}
	}
	return through
}

// Gaps reports whether consumers are told what they missed: session.gap, of origin bridge, gets through.
func (f *Filter) Gaps() bool {
	return slices.Contains(f.Through(), event.SessionGap) && (len(f.Origins) == 0 || slices.Contains(f.Origins, string(event.OriginBridge)))
}

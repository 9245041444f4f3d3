package main

import (
	"strings"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
)

// clash returns what two sinks cannot have in common on one server: the stream, which would store twice what both get, or subjects, which a server gives
// to one stream only. It is the key of that setting; empty where there is nothing, as far as configurations tell.
func clash(a, b *jetstream.Config) (key string) {
	routeA, errA := sink.ParseRoute(a.Subject)
	routeB, errB := sink.ParseRoute(b.Subject)
	switch {
	case a.URL == "" || account(a) != account(b) || !a.Token.Equal(b.Token):
	case a.Stream == b.Stream:
		return "stream"
	case errA == nil && errB == nil && overlap(routeA.Wildcard(), routeB.Wildcard()):
		return "subject"
	}
	return ""
}

// clashAllowed says what is right in place of a clash.
var clashAllowed = map[string]string{
	"stream":  "each stream in one sink: what both get would be stored twice",
	"subject": "subjects of its own, as a server gives each to one stream only: another first word, such as crm.{provider}.{account}.{noun}.{verb}.{agent}",
}

// account is what says, but for a token, which account of which servers the sink uses.
func account(c *jetstream.Config) [5]string {
	return [...]string{c.URL, c.User, string(c.TokenFile), string(c.NkeyFile), string(c.CredsFile)}
}

// overlap reports whether some subject is matched by both. They have no >.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] != y[i] && x[i] != "*" && y[i] != "*" {
			return false
		}
	}
	return true
}

package main

import (
	"slices"
	"strings"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
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

// commonTopic is one that both sinks write to, on a cluster of which both name a broker; empty where there is none.
func commonTopic(a, b *kafka.Config, origins []kafka.Origin) string {
	if !slices.ContainsFunc(a.Brokers, func(broker string) bool { return slices.Contains(b.Brokers, broker) }) {
		return ""
	}
	ofA, errA := a.Topics(origins)
	ofB, errB := b.Topics(origins)
	if errA != nil || errB != nil { // said elsewhere
		return ""
	}
	for _, topic := range ofA {
		if slices.Contains(ofB, topic) {
			return topic
		}
	}
	return ""
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

// Package roster says who the agents of a source are.
package roster

import (
	"fmt"
	"regexp"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/source"
)

// Static is a roster written into the configuration: the vendor's ids of the agents.
type Static []string

// Validate implements config.Validator: no id may be given twice. What an id looks like is the vendor's business, see [Static.Match].
func (s Static) Validate() error {
	var ps config.Problems
	first := map[string]int{}
	for i, id := range s {
		if j, again := first[id]; again {
			ps.Add(fmt.Sprintf("[%d]", i), fmt.Sprintf("given twice, first as [%d]", j), "each agent once")
			continue
		}
		first[id] = i
	}
	return ps.Err()
}

// Match notes an empty roster and each id that the vendor's pattern does not match. path is where the roster stands.
func (s Static) Match(ps *config.Problems, path string, pattern *regexp.Regexp, allowed string) {
	if len(s) == 0 {
		ps.Add(path, "missing", "a list of agents, each "+allowed)
	}
	for i, id := range s {
		ps.Match(fmt.Sprintf("%s[%d]", path, i), id, pattern, allowed)
	}
}

// Agents is the roster as the bridge takes it. describe makes a vendor's agent of an id; name is the configured source that serves them.
func (s Static) Agents(name string, describe func(id string) source.Agent) []source.Agent {
	agents := make([]source.Agent, len(s))
	for i, id := range s {
		agents[i] = describe(id)
		agents[i].Source = name
	}
	return agents
}

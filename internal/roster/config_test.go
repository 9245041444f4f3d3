package roster_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var pattern = regexp.MustCompile(`^WK[0-9]$`)

const allowed = "WK followed by a digit"

// vendor is a section with a roster, as the program composes it.
type vendor struct {
	Agents roster.Config `yaml:"agents"`
}

func (v *vendor) Validate() error {
	var ps config.Problems
	v.Agents.Match(&ps, "agents", pattern, allowed)
	return ps.Err()
}

func TestConfig(t *testing.T) {
	const forms = "all, a list of agents, each WK followed by a digit, or a mapping with one of all, expression, file"
	for document, test := range map[string]struct {
		says, problem string
		every         time.Duration
	}{
		"agents: [WK1, WK2]":                      {says: "2 agents"},
		"agents: all":                             {says: "all agents, listed every 1m", every: time.Minute},
		"agents: {all: true, refresh: 10s}":       {says: "all agents, listed every 10s", every: 10 * time.Second},
		"agents: {expression: 'a == 1'}":          {says: "agents that match a == 1, listed every 1m", every: time.Minute},
		"agents: {file: /x/agents.txt}":           {says: "agents in /x/agents.txt, read every 5s", every: 5 * time.Second},
		"agents: {file: /x/agents, refresh: 24h}": {says: "agents in /x/agents, read every 1d", every: 24 * time.Hour},

		"agents: []":           {problem: "1:1: agents: missing; allowed: " + forms},
		"agents: {all: false}": {problem: "1:1: agents: missing; allowed: " + forms},
		"agents: {}":           {problem: "1:1: agents: missing; allowed: " + forms},
		"agents: everyone":     {problem: "1:9: agents: not a known word; allowed: all, a list of agents, or a mapping with one of all, expression, file"},
		"agents: {all: true, file: x}": {
			problem: "1:1: agents: several ways to name the agents; allowed: exactly one of all, expression, file",
		},
		"agents: {list: [WK1]}":             {problem: "1:1: agents: missing; allowed: " + forms + "\n1:10: agents.list: unknown key; allowed: all, expression, file, refresh"},
		"agents: {all: true, refresh: 1ms}": {problem: "1:30: agents.refresh: out of range; allowed: 1s to 1d"},
		"agents: [WK1, alice, \"\"]": {
			problem: "1:15: agents[1]: not valid; allowed: WK followed by a digit\n1:22: agents[2]: missing; allowed: WK followed by a digit",
		},
		"agents: [WK1, WK2, WK1, WK1]": {
			problem: "1:20: agents[2]: given twice, first as [0]; allowed: each agent once\n1:25: agents[3]: given twice, first as [0]; allowed: each agent once",
		},
	} {
		t.Run(document, func(t *testing.T) {
			var v vendor
			got := ""
			if err := config.Parse("f", []byte(document), &v); err != nil {
				got = regexp.MustCompile(`(?m)^f:`).ReplaceAllString(err.Error(), "")
			}
			if diff := cmp.Diff(test.problem, got); diff != "" {
				t.Fatalf("problems (-want +got):\n%s", diff)
			}
			if got == "" && (v.Agents.String() != test.says || v.Agents.Every() != test.every) {
				t.Errorf("got %q every %v, want %q every %v", v.Agents.String(), v.Agents.Every(), test.says, test.every)
			}
		})
	}
}

package roster_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/roster"
	"github.com/taskbridge/taskbridge/internal/source"
)

// vendor is a section with a roster, as the program composes it.
type vendor struct {
	Agents roster.Static `yaml:"agents"`
}

func (v *vendor) Validate() error {
	var ps config.Problems
	v.Agents.Match(&ps, "agents", regexp.MustCompile(`^WK[0-9]$`), "WK followed by a digit")
	return ps.Err()
}

func TestStaticIsCheckedWithPositions(t *testing.T) {
	for name, test := range map[string]struct{ document, want string }{
		"valid": {document: "agents:\n  - WK1\n  - WK2\n"},
		"empty": {"agents: []\n", "f.yaml:1:1: agents: missing; allowed: a list of agents, each WK followed by a digit"},
		"not an id": {
			"agents:\n  - WK1\n  - alice\n  - \"\"\n",
			"f.yaml:3:5: agents[1]: not valid; allowed: WK followed by a digit\nf.yaml:4:5: agents[2]: missing; allowed: WK followed by a digit",
		},
		"twice": {
			"agents: [WK1, WK2, WK1, WK1]\n",
			"f.yaml:1:20: agents[2]: given twice, first as [0]; allowed: each agent once\n" +
				"f.yaml:1:25: agents[3]: given twice, first as [0]; allowed: each agent once",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := config.Parse("f.yaml", []byte(test.document), &vendor{}); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStaticAgents(t *testing.T) {
	describe := func(id string) source.Agent { return source.Agent{ID: id, Provider: "twilio", Source: "ignored"} }
	got := roster.Static{"WK1", "WK2"}.Agents("support", describe)
	want := []source.Agent{{ID: "WK1", Provider: "twilio", Source: "support"}, {ID: "WK2", Provider: "twilio", Source: "support"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("agents (-want +got):\n%s", diff)
	}
}

// Package roster says who the agents of a source are: a list in the configuration, a file, or a listing that the vendor's package reads.
package roster

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/taskbridge/taskbridge/internal/config"
)

// Config is the agents section of a source. It is the word all, a list of ids, or a mapping with exactly one of all, expression and file.
type Config struct {
	// IDs are the vendor's ids of the agents, written into the configuration.
	IDs []string `yaml:",list"`
	// All listens to every agent that the vendor lists.
	All bool `yaml:"all"`
	// Expression listens to those whom the vendor lists for it; its language is the vendor's.
	Expression string `yaml:"expression"`
	// File listens to those whom the file names, see [File].
	File config.Path `yaml:"file"`
	// Refresh is how often the listing or the file is read again, 1s to 24h. Default 1m for a listing, 5s for a file.
	Refresh config.Duration `yaml:"refresh"`
}

const (
	listingRefresh = config.Duration(time.Minute)
	fileRefresh    = config.Duration(5 * time.Second)
	longestQuery   = 2048 // bytes of an expression: it travels in a URL
)

// UnmarshalText implements encoding.TextUnmarshaler: the short form all.
func (c *Config) UnmarshalText(text []byte) error {
	if string(text) != "all" {
		return config.Problem{What: "not a known word", Allowed: "all, a list of agents, or a mapping with one of all, expression, file"}
	}
	c.All = true
	return nil
}

// Validate implements config.Validator. What an id looks like is the vendor's business, see [Config.Match].
func (c *Config) Validate() error {
	var ps config.Problems
	first := map[string]int{}
	for i, id := range c.IDs {
		if j, again := first[id]; again {
			ps.Add(fmt.Sprintf("[%d]", i), fmt.Sprintf("given twice, first as [%d]", j), "each agent once")
			continue
		}
		first[id] = i
	}
	ways := 0
	for _, set := range []bool{c.All, c.Expression != "", c.File != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		ps.Add("", "several ways to name the agents", "exactly one of all, expression, file")
	}
	if len(c.Expression) > longestQuery {
		ps.Add("expression", "too long", fmt.Sprintf("at most %d bytes", longestQuery))
	}
	if c.Refresh != 0 {
		config.Between(&ps, "refresh", c.Refresh, config.Duration(time.Second), config.Duration(24*time.Hour))
	}
	return ps.Err()
}

// Match notes a roster that names nobody, and each id of a list that the vendor's pattern does not match. path is where the roster stands.
func (c *Config) Match(ps *config.Problems, path string, pattern *regexp.Regexp, allowed string) {
	if len(c.IDs) == 0 && c.File == "" && !c.Listed() {
		ps.Add(path, "missing", "all, a list of agents, each "+allowed+", or a mapping with one of all, expression, file")
	}
	for i, id := range c.IDs {
		ps.Match(fmt.Sprintf("%s[%d]", path, i), id, pattern, allowed)
	}
}

// Listed reports whether the vendor is asked who the agents are.
func (c *Config) Listed() bool { return c.All || c.Expression != "" }

// Every is how often the roster is read again; 0 for a list in the configuration.
func (c *Config) Every() time.Duration {
	switch {
	case c.Listed():
		return time.Duration(cmp.Or(c.Refresh, listingRefresh))
	case c.File != "":
		return time.Duration(cmp.Or(c.Refresh, fileRefresh))
	}
	return 0
}

// String says in the operator's words who the agents are.
func (c *Config) String() string {
	every := config.Duration(c.Every())
	switch {
	case c.All:
		return fmt.Sprintf("all agents, listed every %v", every)
	case c.Expression != "":
		return fmt.Sprintf("agents that match %s, listed every %v", c.Expression, every)
	case c.File != "":
		return fmt.Sprintf("agents in %s, read every %v", c.File, every)
	}
	return fmt.Sprintf("%d agents", len(c.IDs))
}

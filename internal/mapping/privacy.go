package mapping

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// PrivacyConfig says what of the personal data in the vendor's messages is published. The zero value is the default: no attribute, no free
// text, agents' names kept. It is applied before anything is stored.
//
// A rule is one of: keep; drop; hash (HMAC-SHA256 under the key in HashKeyFile, hex: the same value stays recognisable, and the value
// cannot be guessed without the key); truncate:N (the first N characters, N from 1 to 4096).
type PrivacyConfig struct {
	// AgentAttributes and TaskAttributes are allow-lists: attribute path to rule. A dot in a path descends into an object ("customer.tier") or
	// picks an array's item by number ("languages.0"). What no path names is dropped; a path that leads to an object or array keeps nothing.
	AgentAttributes map[string]string `yaml:"agent_attributes"`
	TaskAttributes  map[string]string `yaml:"task_attributes"`
	// FreeText is the rule for what people wrote: the reasons of tasks and transfers. Default drop.
	FreeText string `yaml:"free_text"`
	// AgentName is the rule for the agent's name. Default keep.
	AgentName string `yaml:"agent_name"`
	// HashKeyFile holds the key of the hash rule, at least 32 bytes. The program reads it.
	HashKeyFile string `yaml:"hash_key_file"`
	// Raw publishes the vendor's payload unchanged in data.raw, past every rule above.
	Raw bool `yaml:"raw"`
}

// minHashKey is in bytes: RFC 2104, section 3 discourages keys shorter than the hash.
const minHashKey = sha256.Size

const rulesAllowed = "allowed: keep, drop, hash, truncate:N with N from 1 to 4096"

// Validate checks the rules; each problem names its path and what is allowed.
func (c PrivacyConfig) Validate() error {
	var problems []error
	check := func(path, text string) {
		r, err := parseRule(text, drop)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
		case r.kind == hash && c.HashKeyFile == "":
			problems = append(problems,
				fmt.Errorf("%s: the hash rule needs hash_key_file: name a file with at least %d random bytes", path, minHashKey))
		}
	}
	for _, list := range []struct {
		path  string
		rules map[string]string
	}{{"agent_attributes", c.AgentAttributes}, {"task_attributes", c.TaskAttributes}} {
		for _, path := range slices.Sorted(maps.Keys(list.rules)) {
			if slices.Contains(strings.Split(path, "."), "") {
				problems = append(problems,
					fmt.Errorf("%s: path %q has an empty part; allowed: names joined by dots, such as customer.tier", list.path, path))
			}
			if list.rules[path] == "" {
				problems = append(problems, fmt.Errorf("%s: %q has no rule; %s", list.path, path, rulesAllowed))
				continue
			}
			check(fmt.Sprintf("%s: %q", list.path, path), list.rules[path])
		}
	}
	check("free_text", c.FreeText)
	check("agent_name", c.AgentName)
	return errors.Join(problems...)
}

// Policy is a PrivacyConfig ready for use. Immutable; safe for concurrent use.
type Policy struct {
	agentAttributes, taskAttributes allowList
	freeText, name                  rule
	raw                             bool
}

// NewPolicy prepares the policy. hashKey is the content of HashKeyFile; nil where no rule hashes.
func NewPolicy(c PrivacyConfig, hashKey []byte) (*Policy, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.HashKeyFile != "" && len(hashKey) < minHashKey {
		return nil, fmt.Errorf("hash_key_file: the key has %d bytes; write at least %d random ones into the file", len(hashKey), minHashKey)
	}
	prepare := func(text string, otherwise ruleKind) rule {
		r, _ := parseRule(text, otherwise) // Validate has seen it
		r.key = hashKey
		return r
	}
	list := func(rules map[string]string) (l allowList) {
		for _, path := range slices.Sorted(maps.Keys(rules)) {
			parts := strings.Split(path, ".")
			for i := range parts {
				parts[i] = gjson.Escape(parts[i])
			}
			l = append(l, allowed{path: strings.Join(parts, "."), member: gjson.AppendJSONString(nil, path), rule: prepare(rules[path], drop)})
		}
		return l
	}
	return &Policy{
		agentAttributes: list(c.AgentAttributes), taskAttributes: list(c.TaskAttributes),
		freeText: prepare(c.FreeText, drop), name: prepare(c.AgentName, keep), raw: c.Raw,
	}, nil
}

// agentName is what may be told of the agent's name: of the one in the frame; where it has none, the one told before, which has already been
// through the policy.
func (p *Policy) agentName(inFrame, told string) string {
	switch {
	case p.name.kind == drop:
		return ""
	case inFrame == "":
		return told
	}
	return p.name.apply(inFrame)
}

type ruleKind uint8

const (
	drop ruleKind = iota
	keep
	hash
	truncate
)

type rule struct {
	kind  ruleKind
	runes int    // of truncate
	key   []byte // of hash
}

func parseRule(text string, otherwise ruleKind) (rule, error) {
	switch text {
	case "":
		return rule{kind: otherwise}, nil
	case "keep":
		return rule{kind: keep}, nil
	case "drop":
		return rule{kind: drop}, nil
	case "hash":
		return rule{kind: hash}, nil
	}
	if digits, ok := strings.CutPrefix(text, "truncate:"); ok {
		if n, err := strconv.Atoi(digits); err == nil && n >= 1 && n <= 4096 {
			return rule{kind: truncate, runes: n}, nil
		}
	}
	return rule{}, errors.New("not a rule; " + rulesAllowed)
}

// apply is what the rule leaves of a text. An absent text stays absent: its hash would look like a value.
func (r rule) apply(s string) string {
	switch {
	case r.kind == keep, s == "" && r.kind != drop:
		return s
	case r.kind == hash:
		mac := hmac.New(sha256.New, r.key)
		mac.Write([]byte(s))
		return hex.EncodeToString(mac.Sum(nil))
	case r.kind == truncate:
		n := 0
		for i := range s {
			if n == r.runes {
				return s[:i]
			}
			n++
		}
		return s
	}
	return ""
}

// allowList holds the paths of one kind of attributes, sorted.
type allowList []allowed

type allowed struct {
	path   string // for gjson
	member []byte // the path as a JSON string: the member's name in the event
	rule   rule
}

// maxAttributes is the longest attribute text that is looked into, in bytes. The vendor allows 4096 characters (docs/protocols/twilio-taskrouter.md,
// section 13).
const maxAttributes = 64 << 10

// read is what the list leaves of attributes, which come as JSON in a string: see apply. Without a list they are not even looked at.
func (l allowList) read(attributes document.Value) json.RawMessage {
	if len(l) == 0 {
		return nil
	}
	return l.apply(text(attributes))
}

// apply is what the list leaves of attributes: an object of scalars, named by their paths in the list's order; nil where nothing is left, also of
// text that is not a JSON object.
func (l allowList) apply(attributes string) json.RawMessage {
	if len(attributes) > maxAttributes || deeper([]byte(attributes), maxDepth) || !gjson.Valid(attributes) {
		return nil
	}
	if !gjson.Parse(attributes).IsObject() {
		return nil
	}
	var out []byte
	for _, a := range l {
		v := gjson.Get(attributes, a.path)
		if !v.Exists() || v.Type == gjson.JSON || a.rule.kind == drop {
			continue
		}
		if out == nil {
			out = append(out, '{')
		} else {
			out = append(out, ',')
		}
		out = append(append(out, a.member...), ':')
		out = a.rule.appendScalar(out, v)
	}
	if out == nil {
		return nil
	}
	return append(out, '}')
}

// appendScalar appends what the rule leaves of v. A number keeps its kind only whole; null says nothing and stays.
func (r rule) appendScalar(dst []byte, v gjson.Result) []byte {
	if v.Type == gjson.Null {
		return append(dst, "null"...)
	}
	word := v.Raw
	if v.Type == gjson.String {
		word = v.Str
	}
	left := r.apply(word)
	if v.Type != gjson.String && left == word {
		return append(dst, word...)
	}
	return gjson.AppendJSONString(dst, left)
}

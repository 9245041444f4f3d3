package mapping

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func TestPrivacyAllowList(t *testing.T) {
	mac := hmac.New(sha256.New, hashKey)
	mac.Write([]byte("+358401234567"))
	hashed := hex.EncodeToString(mac.Sum(nil))
	const attributes = `{"phone":"+358401234567","number":358401234567,"name":"Äiti \"X\"\n","vip":true,"none":null,` +
		`"a":{"b":{"c":1.50},"list":["x","y"]},"dup":1,"dup":2,"#":"hash","*":"star","a.b":"flat","empty":""}`
	for name, c := range map[string]struct {
		rules, attributes, want string
	}{
		"no rules":        {`{}`, attributes, ``},
		"nothing matches": {`{absent: keep, a.absent: keep, phone.x: keep}`, attributes, ``},
		"drop":            {`{phone: drop}`, attributes, ``},
		"keep": {
			`{name: keep, vip: keep, none: keep, empty: keep}`, attributes,
			`{"empty":"","name":"Äiti \"X\"\n","none":null,"vip":true}`,
		},
		"hash": {`{phone: hash, none: hash, empty: hash}`, attributes, `{"empty":"","none":null,"phone":"` + hashed + `"}`},
		"truncate": {
			`{phone: "truncate:4", name: "truncate:2", number: "truncate:3", vip: "truncate:4"}`, attributes,
			`{"name":"Äi","number":"358","phone":"+358","vip":true}`,
		},
		"paths":                {`{a.b.c: keep, a.list.1: keep}`, attributes, `{"a.b.c":1.50,"a.list.1":"y"}`},
		"objects and arrays":   {`{a: keep, a.list: hash, a.b: "truncate:9"}`, attributes, ``},
		"no patterns":          {`{"#": keep, "*": keep, "na*": keep, "@this": keep, "a.list.#": keep}`, attributes, `{"#":"hash","*":"star"}`},
		"empty text":           {`{phone: keep}`, ``, ``},
		"not JSON":             {`{phone: keep}`, `{"phone":"x"`, ``},
		"not an object":        {`{"0": keep}`, `["x"]`, ``},
		"too long":             {`{phone: keep}`, `{"phone":"` + strings.Repeat("x", maxAttributes) + `"}`, ``},
		"too deep":             {`{phone: keep}`, `{"phone":"x","a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, ``},
		"unpaired surrogate":   {`{phone: keep}`, `{"phone":"\ud800"}`, `{"phone":"` + "\uFFFD" + `"}`},
		"a whole number stays": {`{number: "truncate:12"}`, attributes, `{"number":358401234567}`},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy(t, []byte(`{hash_key_file: key, task_attributes: `+c.rules+`}`))
			if got := string(p.taskAttributes.apply(c.attributes)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPrivacyAgentName(t *testing.T) {
	for rule, want := range map[string][3]string{ // a name in the frame; none in it; neither in it nor told before
		"keep":       {"alice", "told", ""},
		"drop":       {"", "", ""},
		"truncate:2": {"al", "told", ""},
	} {
		p := policy(t, []byte(`{agent_name: "`+rule+`"}`))
		got := [3]string{p.agentName("alice", "told"), p.agentName("", "told"), p.agentName("", "")}
		if got != want {
			t.Errorf("%s: got %q, want %q", rule, got, want)
		}
	}
}

func TestPrivacyValidate(t *testing.T) {
	hash := map[string]string{"phone": "hash"}
	for name, c := range map[string]struct {
		config PrivacyConfig
		want   []string // in the error; none: valid
	}{
		"default": {PrivacyConfig{}, nil},
		"everything": {PrivacyConfig{
			AgentAttributes: hash, TaskAttributes: hash, FreeText: "truncate:4096", AgentName: "hash", HashKeyFile: "k",
		}, nil},
		"unknown rule":      {PrivacyConfig{FreeText: "redact"}, []string{"free_text: ", "allowed: keep, drop, hash, truncate:N"}},
		"truncate nothing":  {PrivacyConfig{AgentName: "truncate:0"}, []string{"agent_name: "}},
		"truncate too much": {PrivacyConfig{AgentName: "truncate:4097"}, []string{"agent_name: "}},
		"hash without key":  {PrivacyConfig{TaskAttributes: hash}, []string{`task_attributes: "phone": `, "hash_key_file"}},
		"rule missing":      {PrivacyConfig{AgentAttributes: map[string]string{"phone": ""}}, []string{`agent_attributes: "phone" has no rule`}},
		"broken path":       {PrivacyConfig{AgentAttributes: map[string]string{"a..b": "keep"}}, []string{"agent_attributes: ", "empty part"}},
		"two problems":      {PrivacyConfig{FreeText: "x", AgentName: "y"}, []string{"free_text", "agent_name"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.config.Validate()
			if (err != nil) != (len(c.want) > 0) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to hold %q", err, want)
				}
			}
		})
	}
}

func TestNewPolicyRefusesAShortKey(t *testing.T) {
	c := PrivacyConfig{AgentName: "hash", HashKeyFile: "k"}
	if _, err := NewPolicy(c, hashKey[:31]); err == nil || strings.Contains(err.Error(), string(hashKey[:31])) {
		t.Errorf("31 bytes: got %v, want an error without the key", err)
	}
	if _, err := NewPolicy(c, hashKey); err != nil {
		t.Errorf("32 bytes: %v", err)
	}
}

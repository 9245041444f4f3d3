package jetstream

import (
	"testing"

	"github.com/taskbridge/taskbridge/internal/config"
)

func TestClash(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"one stream":                   {func(*Config) {}, "stream"},
		"one stream, other subjects":   {func(c *Config) { c.Subject = "crm.{noun}" }, "stream"},
		"the same subjects":            {func(c *Config) { c.Stream = "CRM" }, "subject"},
		"some subjects":                {func(c *Config) { c.Stream, c.Subject = "CRM", "contact.{agent}.{account}.calls.{verb}.x" }, "subject"},
		"other subjects":               {func(c *Config) { c.Stream, c.Subject = "CRM", "crm.{provider}.{account}.{noun}.{verb}.{agent}" }, ""},
		"subjects of another length":   {func(c *Config) { c.Stream, c.Subject = "CRM", "contact.{provider}" }, ""},
		"another server":               {func(c *Config) { c.URL = "nats://b:4222" }, ""},
		"another account, by a user":   {func(c *Config) { c.User = "crm" }, ""},
		"another account, by a token":  {func(c *Config) { c.Token = config.NewSecret("crm") }, ""},
		"another account, by its file": {func(c *Config) { c.CredsFile = "crm.creds" }, ""},
		"a server of its own":          {func(c *Config) { c.URL, c.Embedded = "", &Embedded{Dir: "b"} }, ""},
	} {
		var a, b Config
		for _, c := range []*Config{&a, &b} {
			c.SetDefaults()
			c.URL, c.Stream = "nats://a:4222", "FACTS"
		}
		test.change(&b)
		if got, back := a.Clash(&b), b.Clash(&a); got != test.want || back != test.want {
			t.Errorf("%s: got %q, and %q the other way round, want %q", name, got, back, test.want)
		}
	}
	var a, b Config // embedded servers have no URL
	a.SetDefaults()
	b.SetDefaults()
	if got := a.Clash(&b); got != "" {
		t.Errorf("embedded: got %q", got)
	}
}

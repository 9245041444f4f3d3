package main

import (
	"testing"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
)

func TestClash(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*jetstream.Config)
		want   string
	}{
		"one stream":                 {func(*jetstream.Config) {}, "stream"},
		"one stream, other subjects": {func(c *jetstream.Config) { c.Subject = "crm.{noun}" }, "stream"},
		"the same subjects":          {func(c *jetstream.Config) { c.Stream = "CRM" }, "subject"},
		"some subjects":              {func(c *jetstream.Config) { c.Stream, c.Subject = "CRM", "contact.{agent}.{account}.calls.{verb}.x" }, "subject"},
		"other subjects": {func(c *jetstream.Config) {
			c.Stream, c.Subject = "CRM", "crm.{provider}.{account}.{noun}.{verb}.{agent}"
		}, ""},
		"subjects of another length":   {func(c *jetstream.Config) { c.Stream, c.Subject = "CRM", "contact.{provider}" }, ""},
		"another server":               {func(c *jetstream.Config) { c.URL = "nats://b:4222" }, ""},
		"another account, by a user":   {func(c *jetstream.Config) { c.User = "crm" }, ""},
		"another account, by a token":  {func(c *jetstream.Config) { c.Token = config.NewSecret("crm") }, ""},
		"another account, by its file": {func(c *jetstream.Config) { c.CredsFile = "crm.creds" }, ""},
		"a server of its own":          {func(c *jetstream.Config) { c.URL, c.Embedded = "", &jetstream.Embedded{Dir: "b"} }, ""},
	} {
		var a, b jetstream.Config
		for _, c := range []*jetstream.Config{&a, &b} {
			c.SetDefaults()
			c.URL, c.Stream = "nats://a:4222", "FACTS"
		}
		test.change(&b)
		if got, back := clash(&a, &b), clash(&b, &a); got != test.want || back != test.want {
			t.Errorf("%s: got %q, and %q the other way round, want %q", name, got, back, test.want)
		}
	}
	var a, b jetstream.Config // embedded servers have no URL
	a.SetDefaults()
	b.SetDefaults()
	if got := clash(&a, &b); got != "" {
		t.Errorf("embedded: got %q", got)
	}
}

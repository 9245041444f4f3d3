package main

import (
	"testing"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
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

func TestCommonTopic(t *testing.T) {
	origins := []kafka.Origin{{Provider: "twilio", Account: "AC1"}, {Provider: "twilio", Account: "AC2"}}
	for name, test := range map[string]struct {
		change func(*kafka.Config)
		want   string
	}{
		"one topic":           {func(*kafka.Config) {}, "facts"},
		"one broker in both":  {func(c *kafka.Config) { c.Brokers = []string{"b:9092", "a:9092"} }, "facts"},
		"another topic":       {func(c *kafka.Config) { c.Topic = "crm" }, ""},
		"another cluster":     {func(c *kafka.Config) { c.Brokers = []string{"b:9092"} }, ""},
		"topics of accounts":  {func(c *kafka.Config) { c.Topic = "facts.{account}" }, ""},
		"no topic by mistake": {func(c *kafka.Config) { c.Topic = "facts.{agent}" }, ""},
	} {
		var a, b kafka.Config
		for _, c := range []*kafka.Config{&a, &b} {
			c.SetDefaults()
			c.Brokers, c.Topic = []string{"a:9092"}, "facts"
		}
		test.change(&b)
		if got, back := commonTopic(&a, &b, origins), commonTopic(&b, &a, origins); got != test.want || back != test.want {
			t.Errorf("%s: got %q, and %q the other way round, want %q", name, got, back, test.want)
		}
	}
}

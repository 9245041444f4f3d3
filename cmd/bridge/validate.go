package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/sink"
)

func newValidateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check a configuration and show what it would run",
		Long: `Check a configuration, with the files and environment variables that it names, and show what it would run. Nothing is dialled. All problems are told
at once, each as FILE:LINE:COLUMN: PATH: what is wrong; allowed: what would be right. The exit code is 2 when there are any.`,
		Example: "  bridge validate -c bridge.yaml",
		Args:    cobra.NoArgs,
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid. It would run:\n", *file)
		c.describe(cmd.OutOrStdout())
		return err
	}
	return cmd
}

// describe shows what would run, a line per part, without secrets.
func (c *configuration) describe(w io.Writer) {
	line := func(kind, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "  %-8s%s\n", kind, fmt.Sprintf(format, args...))
	}
	order := map[string]string{"task": "task and agent", "agent": "agent"}[c.Bridge.PartitionBy]
	line("bridge", "%s: order per %s, at most %v dials/s, sessions silent for %v are replaced",
		c.Bridge.ID, order, c.Bridge.DialRate, c.Bridge.SilenceLimit)
	for _, s := range c.Sources {
		if t := s.TaskRouter; t != nil {
			endpoint := t.EventBridgeURL
			if endpoint == "" {
				endpoint = "Twilio, region " + cmp.Or(t.Region, "us1")
			}
			line("source", "%s: Twilio TaskRouter, workspace %s, %v, at %s", s.Name, t.Workspace, &t.Agents, endpoint)
		}
	}
	for _, s := range c.Sinks {
		if n := s.NATS; n != nil {
			server := n.URL
			if n.Embedded != nil {
				server = "an embedded server with its data in " + string(n.Embedded.Dir)
			}
			subjects := n.Subject
			if route, err := sink.ParseRoute(n.Subject); err == nil {
				subjects = route.Wildcard()
			}
			line("sink", "%s: NATS JetStream, stream %s with subjects %s, %s mode, at %s", s.Name, n.Stream, subjects, n.Mode, server)
		}
		if k := s.Kafka; k != nil {
			topics, _ := k.Topics(c.origins()) // it is valid
			line("sink", "%s: Kafka, %s, %s mode, at %s", s.Name, strings.Join(topics, ", "), k.Mode, strings.Join(k.Brokers, ", "))
			for _, text := range k.Describe() {
				line("", "%s", text)
			}
			for _, text := range k.ClearText() {
				line("", "WARNING: %s", text)
			}
		}
		line("", "gets %s", gets(&s.Filter))
		if s.Start == "now" {
			line("", "where it is new to the spool, only from then on")
		}
	}
	if c.Privacy.Raw {
		line("privacy", "RAW PAYLOADS ARE PUBLISHED, personal data included")
	} else {
		line("privacy", "%d agent and %d task attributes are published", len(c.Privacy.AgentAttributes), len(c.Privacy.TaskAttributes))
	}
	line("spool", "up to %v in %s, survives %s, full: %s, stop: %s",
		c.Spool.MaxBytes, c.Spool.Dir, strings.ReplaceAll(c.Spool.Survives, "_", " "), c.Spool.Full, c.Bridge.Stop)
	line("health", "http://%s with /metrics, /livez, /readyz; ready with %v of the agents live", c.Health.Listen, c.Health.MinLive)
	if c.Admin.Listen == admin.Off {
		line("admin", "off")
	} else {
		line("admin", "http://%s for bridge agents and bridge loglevel", c.Admin.Listen)
	}
}

// gets says which events a filter lets through, and whether gaps are not among them: a consumer of the sink would not know.
func gets(f *sink.Filter) string {
	text := "all types"
	if len(f.Types) > 0 {
		var types []string
		for _, t := range f.Through() {
			types = append(types, string(t))
		}
		text = strings.Join(types, " ")
	}
	for _, limit := range []struct {
		name  string
		words []string
	}{{"providers", f.Providers}, {"accounts", f.Accounts}, {"origins", f.Origins}} {
		if len(limit.words) > 0 {
			text += fmt.Sprintf("; only %s %s", limit.name, strings.Join(limit.words, ", "))
		}
	}
	if !f.Gaps() {
		text += "; NOT session.gap: its consumers are not told what they missed"
	}
	return text
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/event"
)

// agentsOf is what the admin listener tells of b's agents, seen at the given time.
func agentsOf(b *bridge.Bridge, now time.Time) []admin.Agent {
	var all []admin.Agent
	for _, s := range b.Agents() {
		a := admin.Agent{
			ID: s.ID, Source: s.Source, State: string(s.State), OpenGaps: []admin.Gap{}, // [] rather than null
			LastEnd: s.LastEnd, LastEndAt: s.LastEndAt, NextDial: s.NextDial,
		}
		if !s.LastHeard.IsZero() {
			silence := now.Sub(s.LastHeard).Milliseconds()
			a.SilenceMS = &silence
		}
		for _, g := range s.Gaps {
			a.OpenGaps = append(a.OpenGaps, admin.Gap{Feed: g.Feed, Cause: string(g.Cause), From: g.From})
		}
		if s.Incarnation != "" {
			a.Session = admin.Session{
				Incarnation: s.Incarnation, TokenAgeMS: now.Sub(s.Dialled).Milliseconds(), Since: s.Since, RenewBy: s.RenewBy,
			}
		}
		all = append(all, a)
	}
	return all
}

var agentStates = []string{
	string(event.SessionConnecting), string(event.SessionLive), string(event.SessionRenewing), string(event.SessionStateLost),
	string(event.SessionStateRefused),
}

func newAgentsCommand() *cobra.Command {
	var (
		states []string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "Show the agents of a running bridge",
		Long: `Show the agents of a running bridge on this machine, as its admin listener tells them: the state of each one's session, how long ago she was last
heard, be it by a heartbeat, her open gaps, the age of her session's token and when it is replaced, and why her last session ended.`,
		Example: `  bridge agents
  bridge agents -c bridge.yaml --state lost,refused
  bridge agents --json`,
		Args: cobra.NoArgs,
	}
	client := adminFlags(cmd)
	cmd.Flags().StringSliceVar(&states, "state", nil, "only agents in these `states`: "+strings.Join(agentStates, ", "))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per agent and line")
	completeFrom(cmd, "state", agentStates...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if states != nil && len(states) == 0 {
			return usageError{fmt.Errorf("--state: missing; one or more of %s", strings.Join(agentStates, ", "))}
		}
		for _, s := range states {
			if !slices.Contains(agentStates, s) {
				return usageError{fmt.Errorf("--state %s: not one of %s", s, strings.Join(agentStates, ", "))}
			}
		}
		c, err := client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
		defer cancel()
		agents, err := c.Agents(ctx)
		if err != nil {
			return err
		}
		if states != nil {
			agents = slices.DeleteFunc(agents, func(a admin.Agent) bool { return !slices.Contains(states, a.State) })
		}
		if !asJSON {
			return printAgents(cmd.OutOrStdout(), agents, time.Now())
		}
		encoder := json.NewEncoder(cmd.OutOrStdout())
		for _, a := range agents {
			if err := encoder.Encode(a); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func printAgents(out io.Writer, agents []admin.Agent, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) } // Flush tells the error
	row("AGENT", "SOURCE", "STATE", "HEARD", "OPEN GAPS", "TOKEN AGE", "RENEWED IN", "LAST END")
	for _, a := range agents {
		heard, gaps, age, renewed, end := "-", "-", "-", "-", "-"
		if a.SilenceMS != nil {
			heard = span(time.Duration(*a.SilenceMS)*time.Millisecond) + " ago"
		}
		if n := len(a.OpenGaps); n > 0 {
			gaps = fmt.Sprintf("%d (%s for %s)", n, a.OpenGaps[0].Cause, span(now.Sub(a.OpenGaps[0].From)))
		}
		if a.Session.Incarnation != "" {
			age = span(time.Duration(a.Session.TokenAgeMS) * time.Millisecond)
		}
		if !a.Session.RenewBy.IsZero() {
			renewed = "< " + span(a.Session.RenewBy.Sub(now))
		}
		if a.LastEnd != "" {
			end = fmt.Sprintf("%s, %s ago", a.LastEnd, span(now.Sub(a.LastEndAt)))
		}
		row(a.ID, a.Source, a.State, heard, gaps, age, renewed, end)
	}
	return w.Flush()
}

// span is a duration for people: one decimal below a minute, whole seconds above.
func span(d time.Duration) string {
	if d = max(0, d); d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// tapLine is the event for people: local time, type, agent, and what this type is about as name=value. What people or the vendor wrote is
// quoted where it is not plain, so that it cannot draw on a terminal.
func tapLine(e *event.Event) string {
	d := &e.Data
	var b strings.Builder
	agent := "-"
	if d.Agent != nil {
		agent = d.Agent.ID
	}
	fmt.Fprintf(&b, "%s  %-28s  %s", e.Time.Time().Local().Format("2006-01-02 15:04:05.000"), e.Type, plain(agent))
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s=%s", name, plain(value))
		}
	}
	took := func(name string, ms event.Null[int64]) {
		if ms.OK {
			say(name, span(time.Duration(ms.V)*time.Millisecond))
		}
	}
	if r := d.Reservation; r != nil {
		say("reservation", r.ID)
		say("reason", r.Reason)
	}
	if t := d.Task; t != nil {
		say("task", t.ID)
		say("channel", string(t.Channel))
		say("queue", t.QueueName)
		if e.Type.Noun() == "task" {
			say("status", string(t.Status))
		}
	}
	if t := d.Timing; t != nil {
		took("waited", t.WaitMS)
		took("rang", t.RingMS)
		took("handled", t.HandleMS)
		took("wrapped", t.WrapMS)
	}
	if t := d.Transfer; t != nil {
		say("transfer", string(t.Status))
		say("mode", string(t.Mode))
		say("to", t.TargetID)
	}
	if a := d.Agent; a != nil && e.Type == event.AgentActivityChanged {
		say("activity", a.ActivityName)
		say("before", a.PreviousActivityName)
		took("for", a.PreviousActivityMS)
	}
	if c := d.Channel; c != nil {
		say("channel", string(c.Name))
		if c.Capacity.OK {
			say("capacity", strconv.FormatInt(c.Capacity.V, 10))
		}
	}
	if g := d.Gap; g != nil {
		say("gap", string(g.State))
		say("feed", g.Feed)
		say("cause", string(g.Cause))
		took("lasted", g.DurationMS)
		say("result", string(g.Result))
	}
	if s := d.Session; s != nil {
		say("session", string(s.State))
		say("continuity", string(s.Continuity))
		say("reason", s.Reason)
	}
	if u := d.Unmapped; u != nil {
		say("reason", u.Reason)
	}
	if e.Origin != event.OriginSocket && e.Origin != event.OriginBridge {
		say("origin", string(e.Origin))
	}
	return b.String()
}

// plain is s itself where it is made of visible ASCII without quotes, else quoted.
func plain(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' {
			return strconv.Quote(s)
		}
	}
	return s
}

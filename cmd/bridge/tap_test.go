package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// A tap shows the chosen events alone; its JSON is the stored event.
func TestTap(t *testing.T) {
	sim := simulate(t, "--workers", "3", "--rate", "50")
	p := start(t, "run", "-c", configure(t, sim, fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}`, t.TempDir()), ""))
	url := p.logged(t, "the broker runs in this process")["url"].(string)
	p.stderr.line(t, `"msg":"session is live"`)

	text := start(t, "tap", "--url", url, "--stream", "FACTS", "--from-start", "--type", "session.ready")
	for _, worker := range sim.Workers {
		line := text.stdout.line(t, worker)
		if !strings.Contains(line, "  session.ready                 "+worker+"  session=live  continuity=unknown\n") {
			t.Errorf("got %q", line)
		}
	}
	document := start(t, "tap", "--url", url, "--stream", "FACTS", "--since", "1h", "--type", "reservation,agent.activity_changed", "--agent", sim.Workers[1], "--json")
	document.stdout.line(t, `"taskbridge.reservation.`)
	nobody := start(t, "tap", "--url", url, "--stream", "FACTS", "--from-start", "--agent", "nobody")
	nobody.stderr.line(t, "no event has matched so far")
	for _, tap := range []*program{text, document, nobody} {
		tap.stop()
		if err := tap.wait(t); err != nil {
			t.Errorf("after a signal: got %v, want nil", err)
		}
	}
	if nobody.stdout.String() != "" || strings.Count(nobody.stderr.String(), "no event has matched") != 1 {
		t.Errorf("a tap for nobody: got %s and\n%s", nobody.stdout, nobody.stderr)
	}
	if strings.Contains(text.stdout.String(), "reservation") {
		t.Errorf("got other types than asked for:\n%s", text.stdout)
	}
	for line := range strings.Lines(document.stdout.String()) {
		e, sequence, err := event.ParseStructured([]byte(line))
		if err != nil || sequence == "" || e.Data.Agent.ID != sim.Workers[1] || e.Type.Noun() != "reservation" && e.Type != event.AgentActivityChanged {
			t.Errorf("got %v for %s", err, line)
		}
	}
}

func TestTapUsage(t *testing.T) {
	dir := t.TempDir()
	none := write(t, dir, "none.yaml", strings.SplitN(good, "sinks:", 2)[0])
	two := write(t, dir, "two.yaml", good+"  - name: more\n    nats: {url: \"nats://127.0.0.1:4222\", stream: MORE}\n")
	anyPort := write(t, dir, "any-port.yaml", strings.Replace(good, `url: "nats://127.0.0.1:4222"`, "embedded: {dir: ./broker}", 1))
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "at least one of the flags in the group [config url] is required"},
		{[]string{"--url", "nats://127.0.0.1:1"}, "they must all be set; missing [stream]"},
		{[]string{"-c", two, "--since", "1h", "--from-start"}, "none of the others can be"},
		{[]string{"-c", two, "--since", "yesterday"}, "--since yesterday: a span such as 10m or 2d, or a time such as 2026-01-02T15:04:05Z"},
		{[]string{"-c", two, "--type", "reservation.acepted"}, "--type reservation.acepted: not one of agent, agent.activity_changed,"},
		{[]string{"-c", none}, none + ": it has no sinks"},
		{[]string{"-c", two, "--type", ""}, "--type: missing; one or more of agent, agent.activity_changed,"},
		{[]string{"-c", two}, "choose a sink with --sink: facts, more"},
		{[]string{"-c", two, "--sink", "none"}, "choose a sink with --sink: facts, more"},
		{[]string{"-c", anyPort}, "set embedded.port, or name the server that the bridge's log tells with --url and --stream"},
		{[]string{"--url", "http://127.0.0.1", "--stream", "FACTS"}, "url: not a server's URL"},
	} {
		if code, stdout, stderr := exec(t, append([]string{"tap"}, test.args...)...); code != 2 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: got exit code %d, %q and %s, want 2 and %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestTapSaysOnceThatNothingMatches(t *testing.T) {
	for first, want := range map[int]int{1: 0, quietAfter: 0, quietAfter + 1: 1, 3 * quietAfter: 1} { // by which event is the first to match
		var u unmatched
		got := 0
		for n := range 5 * quietAfter {
			if u.saw(n+1 == first) {
				got++
			}
		}
		if got != want {
			t.Errorf("event %d is the first that matches: said %d times, want %d", first, got, want)
		}
	}
}

func TestTapStart(t *testing.T) {
	now := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"": {}, "2d": now.Add(-48 * time.Hour), "2026-01-02T15:04:05Z": time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)} {
		f := tapFlags{since: text}
		if got, err := f.start(now); err != nil || !got.Since.Equal(want) || got.Oldest {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestTapFilterAndLine(t *testing.T) {
	at := event.InstantOf(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local))
	accepted := &event.Event{
		Type: event.ReservationAccepted, Time: at, Origin: event.OriginSocket,
		Data: event.Data{
			Agent:       &event.Agent{ID: "WK1"},
			Task:        &event.Task{ID: "WT2", ChainID: "WT1", Channel: event.ChannelVoice, QueueName: "Sup\x1b[2Jport"},
			Reservation: &event.Reservation{ID: "WR1", Reason: ""},
			Timing:      &event.Timing{WaitMS: event.Some[int64](90_000), RingMS: event.Some[int64](7_040)},
		},
	}
	gap := &event.Event{
		Type: event.SessionGap, Time: at, Origin: event.OriginBridge,
		Data: event.Data{
			Agent:   &event.Agent{ID: "WK2"},
			Gap:     &event.Gap{State: event.GapClosed, Feed: "live", Cause: event.CauseConnectionLost, DurationMS: event.Some[int64](1200), Result: event.ResultUnrecoverable},
			Session: &event.Session{State: event.SessionLive, Continuity: event.ContinuityGap},
		},
	}
	activity := &event.Event{
		Type: event.AgentActivityChanged, Time: at, Origin: event.OriginSnapshot,
		Data: event.Data{Agent: &event.Agent{ID: "WK2", ActivityName: "On a break", PreviousActivityName: "Available"}},
	}
	all := []*event.Event{accepted, gap, activity}
	for i, want := range []string{
		`2026-01-02 03:04:05.006  reservation.accepted          WK1  reservation=WR1  task=WT2  channel=voice  queue="Sup\x1b[2Jport"  waited=1m30s  rang=7.0s`,
		`2026-01-02 03:04:05.006  session.gap                   WK2  gap=closed  feed=live  cause=connection_lost  lasted=1.2s  result=unrecoverable  session=live  continuity=gap`,
		`2026-01-02 03:04:05.006  agent.activity_changed        WK2  activity="On a break"  before=Available  origin=snapshot`,
	} {
		if got := tapLine(all[i]); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	for _, test := range []struct {
		filter tapFilter
		want   []*event.Event
	}{
		{tapFilter{}, all},
		{tapFilter{types: []string{"reservation"}}, []*event.Event{accepted}},
		{tapFilter{types: []string{"session.gap", "agent.activity_changed"}}, []*event.Event{gap, activity}},
		{tapFilter{types: []string{"session.gap", "reservation"}, agent: "WK2"}, []*event.Event{gap}},
		{tapFilter{agent: "WK2"}, []*event.Event{gap, activity}},
		{tapFilter{task: "WT2"}, []*event.Event{accepted}},
		{tapFilter{task: "WT1"}, []*event.Event{accepted}},
		{tapFilter{task: "WT3"}, nil},
	} {
		var got []*event.Event
		for _, e := range all {
			if test.filter.match(e) {
				got = append(got, e)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %d events, want %d", test.filter, len(got), len(test.want))
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/admin"
)

func TestAgentsOfARunningBridge(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "0")
	sim.Workers = append(sim.Workers, "WK"+strings.Repeat("f", 32)) // unknown there, so refused
	file := configure(t, sim, fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}`, t.TempDir()), "")
	p := start(t, "run", "-c", file)
	address := p.adminAddress(t)
	eventually(t, "two agents are live and one is refused", func() bool {
		code, stdout, stderr := exec(t, "agents", "--admin", address)
		if code != 0 || stderr != "" {
			t.Fatalf("got exit code %d and %s", code, stderr)
		}
		return strings.Count(stdout, "  live  ") == 2 && strings.Contains(stdout, "  refused  ")
	})

	_, stdout, _ := exec(t, "agents", "--admin", address, "--state", "live", "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %s, want a line for each live agent", stdout)
	}
	var a admin.Agent
	if err := json.Unmarshal([]byte(lines[0]), &a); err != nil {
		t.Fatal(err)
	}
	if a.ID != sim.Workers[0] || a.Source != "simulator" || a.SilenceMS == nil || *a.SilenceMS < 0 || a.Session.TokenAgeMS < *a.SilenceMS ||
		a.Session.RenewBy.Sub(a.Session.Since) < 40*time.Minute || a.Session.Incarnation == "" || a.LastEnd != "" || len(a.OpenGaps) != 0 {
		t.Errorf("got %+v, want a live agent with an hour's token", a)
	}

	_, stdout, _ = exec(t, "agents", "--admin", address, "--state", "refused,lost")
	want := regexp.MustCompile(`^AGENT +SOURCE +STATE +HEARD +OPEN GAPS +TOKEN AGE +RENEWED IN +LAST END\nWKf{32}  simulator  refused  - +- +- +- +upgrade_4\d\d, \d+\.\ds ago\n$`)
	if !want.MatchString(stdout) {
		t.Errorf("got\n%s\nwant the refused agent alone", stdout)
	}
}

func TestPrintAgents(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	silence := int64(12_300)
	var out strings.Builder
	err := printAgents(&out, []admin.Agent{
		{
			ID: "WK1", Source: "support", State: "live", SilenceMS: &silence,
			Session: admin.Session{Incarnation: "b-1-1", TokenAgeMS: 600_000, Since: now, RenewBy: now.Add(38 * time.Minute)},
		},
		{
			ID: "WK2", Source: "support", State: "lost", SilenceMS: &silence, LastEnd: "close_1006", LastEndAt: now.Add(-12 * time.Second),
			OpenGaps: []admin.Gap{{Feed: "live", Cause: "connection_lost", From: now.Add(-90 * time.Second)}},
		},
		{ID: "WK3", Source: "support", State: "connecting"},
	}, now)
	want := `AGENT  SOURCE   STATE       HEARD      OPEN GAPS                     TOKEN AGE  RENEWED IN  LAST END
WK1    support  live        12.3s ago  -                             10m0s      < 38m0s     -
WK2    support  lost        12.3s ago  1 (connection_lost for 1m30s)  -          -           close_1006, 12.0s ago
WK3    support  connecting  -          -                             -          -           -
`
	squeeze := func(s string) string { return regexp.MustCompile(` +`).ReplaceAllString(s, " ") }
	if diff := cmp.Diff(squeeze(want), squeeze(out.String())); err != nil || diff != "" {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
}

func TestLogLevelOfARunningBridge(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "20")
	p := start(t, "run", "-c", configure(t, sim, unreachable(t), "bridge: {drain_timeout: 200ms}"))
	address := p.adminAddress(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "info\n"},
		{[]string{"debug"}, "debug\n"},
		{nil, "debug\n"},
	} {
		if code, stdout, stderr := exec(t, append([]string{"loglevel", "--admin", address}, test.args...)...); code != 0 || stdout != test.want {
			t.Errorf("%v: got exit code %d, %q and %s, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
	p.stderr.line(t, `"level":"debug"`)
}

func TestAdminClientUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--admin", "http://127.0.0.1:8081"}, "--admin http://127.0.0.1:8081: not a loopback address with a port"},
		{[]string{"--admin", "192.0.2.1:8081"}, "--admin 192.0.2.1:8081: not a loopback address with a port"},
		{[]string{"--admin", "127.0.0.1"}, "--admin 127.0.0.1: not a loopback address with a port"},
		{[]string{"--admin", "off"}, "--admin off: not a loopback address with a port"},
	} {
		for _, command := range []string{"agents", "loglevel"} {
			if code, stdout, stderr := exec(t, append([]string{command}, test.args...)...); code != 2 || stdout != "" || !strings.HasPrefix(stderr, test.want) {
				t.Errorf("%s %v: got exit code %d, %q and %s, want 2 and %q", command, test.args, code, stdout, stderr, test.want)
			}
		}
	}
	code, stdout, stderr := exec(t, "agents", "--state", "")
	if want := "--state: missing; one or more of connecting, live, renewing, lost, refused\n"; code != 2 || stdout != "" || stderr != want {
		t.Errorf("got exit code %d, %q and %s, want 2 and %q", code, stdout, stderr, want)
	}
}

func TestAdminListenerOff(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	file := write(t, t.TempDir(), "bridge.yaml", good+"admin: {listen: off}\n")
	for _, command := range []string{"agents", "loglevel"} {
		code, _, stderr := exec(t, command, "-c", file)
		if want := file + ": admin.listen is off: that bridge has no admin listener\n"; code != 2 || stderr != want {
			t.Errorf("%s: got exit code %d and %s, want 2 and %s", command, code, stderr, want)
		}
	}
	if _, stdout, _ := exec(t, "validate", "-c", file); !strings.Contains(stdout, "\n  admin   off\n") {
		t.Errorf("got %s, want it to say that the admin listener is off", stdout)
	}
	sim := simulate(t, "--workers", "1", "--rate", "0")
	file = configure(t, sim, unreachable(t), "bridge: {drain_timeout: 200ms}")
	replaceIn(t, file, `admin: {listen: "127.0.0.1:0"}`, "admin: {listen: off}")
	if got := start(t, "run", "-c", file).adminAddress(t); got != "off" {
		t.Errorf("got admin listener %s, want off", got)
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What goes where is shown for each sink, and where consumers will not be told of gaps.
func TestValidateShowsWhatGoesWhere(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	const unaware = "; NOT session.gap: its consumers are not told what they missed"
	for lines, want := range map[string]string{
		"":                             "gets all types",
		"start: oldest":                "gets all types",
		"start: now":                   "gets all types\n          where it is new to the spool, only from then on",
		"filter: {types: [session.*]}": "gets session.ready session.lost session.refused session.token_expired session.gap",
		"filter: {types: [task.updated, session.gap, task.expir*]}": "",
		"filter: {types: [task.updated, agent.*, session.gap, agent.capacity_changed]}": "gets session.gap agent.activity_changed " +
			"agent.attributes_changed agent.capacity_changed task.updated",
		"filter: {types: [task.updated]}":       "gets task.updated" + unaware,
		"filter: {origins: [socket, snapshot]}": "gets all types; only origins socket, snapshot" + unaware,
		"filter: {origins: [socket, bridge]}":   "gets all types; only origins socket, bridge",
		"filter: {types: [session.gap], providers: [twilio], accounts: [AC00000000000000000000000000000001]}": "gets session.gap; only providers twilio; " +
			"only accounts AC00000000000000000000000000000001",
	} {
		file := write(t, t.TempDir(), "bridge.yaml", good+"    "+lines+"\n")
		code, stdout, stderr := exec(t, "validate", "-c", file)
		if want == "" {
			if code != 2 || stdout != "" {
				t.Errorf("%s: got exit code %d and %s", lines, code, stdout)
			}
			continue
		}
		_, got, _ := strings.Cut(stdout, "at nats://127.0.0.1:4222\n          ")
		got, _, _ = strings.Cut(got, "\n  privacy")
		if diff := cmp.Diff(want, got); code != 0 || diff != "" {
			t.Errorf("%s: got exit code %d, %s (-want +got):\n%s", lines, code, stderr, diff)
		}
	}
}

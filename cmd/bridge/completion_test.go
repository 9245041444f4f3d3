package main

import (
	"strings"
	"testing"
)

// What a shell asks the program while its user types.
func TestCompletion(t *testing.T) {
	for _, test := range []struct {
		typed []string
		want  string
	}{
		{[]string{"si"}, "simulate\tSimulate a vendor's side of the wire\n"},
		{[]string{"loglevel", "d"}, "debug\n"},
		{[]string{"agents", "--state", "re"}, "refused\n"},
		{[]string{"tap", "--type", "session.r"}, "session.ready\n"},
	} {
		code, stdout, _ := exec(t, append([]string{"__complete"}, test.typed...)...)
		if code != 0 || !strings.Contains("\n"+stdout, "\n"+test.want) || strings.Contains(stdout, ".yaml") {
			t.Errorf("%v: got exit code %d and %q, want %q in it", test.typed, code, stdout, test.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, stderr := exec(t, "completion", shell); code != 0 || len(stdout) < 1000 || stderr != "" {
			t.Errorf("%s: got exit code %d, %d bytes and %s", shell, code, len(stdout), stderr)
		}
	}
}

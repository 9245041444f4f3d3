package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

func TestEveryCommandExplainsItself(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: short, long or example text is missing", cmd.CommandPath())
		}
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		if code, stdout, stderr := exec(t, args...); code != 0 || !strings.Contains(stdout, "Examples:\n  "+cmd.CommandPath()) &&
			cmd.HasParent() || stderr != "" {
			t.Errorf("%v: got exit code %d, %q and\n%s", args, code, stderr, stdout)
		}
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" {
				visit(sub)
			}
		}
	}
	visit(newRootCommand(nil))
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"fly"}, "unknown command \"fly\" for \"bridge\"; see 'bridge --help'\n"},
		{[]string{"simulate", "fly"}, "unknown command \"fly\" for \"bridge simulate\"; see 'bridge simulate --help'\n"},
		{[]string{"simulate"}, "say what to simulate: bridge simulate taskrouter\n"},
		{[]string{"version", "--fly"}, "unknown flag: --fly; see 'bridge version --help'\n"},
		{[]string{"schema", "more"}, "unknown command \"more\" for \"bridge schema\"; see 'bridge schema --help'\n"},
		{[]string{"simulate", "taskrouter", "--rate", "fast"}, "invalid argument \"fast\" for \"--rate\" flag: strconv.ParseFloat: parsing \"fast\": " +
			"invalid syntax; see 'bridge simulate taskrouter --help'\n"},
		{[]string{"simulate", "taskrouter", "--api-secret", "x", "--api-secret-file", "y"}, "give --api-secret or --api-secret-file, not both\n"},
		{[]string{"simulate", "taskrouter", "--api-secret-file", "nowhere"}, "secret file: stat nowhere: no such file or directory\n"},
		{[]string{"simulate", "taskrouter", "--rate", "NaN"}, "simulator: rate must be 0 to 100000\n"},
		{[]string{"simulate", "taskrouter", "--workers", "99999999"}, "simulator: workers must be 1 to 100000\n"},
		{[]string{"simulate", "taskrouter", "--workers", "0"}, "--workers 0: at least 1\n"},
		{[]string{"simulate", "taskrouter", "--account", "x"}, "simulator: account must match ^AC[0-9a-f]{32}$\n"},
		{[]string{"demo", "--rate", "NaN"}, "--rate NaN: above 0, and at most 20 per agent (here 1000)\n"},
		{[]string{"run"}, "no configuration: name one with -c FILE. configs/taskrouter-nats.yaml is a commented one to start from; " +
			"configs/evaluation.yaml needs neither an account nor a broker\n"},
		{[]string{"run", "-c", "nowhere.yaml"}, "read configuration: stat nowhere.yaml: no such file or directory\n"},
	} {
		if code, stdout, stderr := exec(t, test.args...); code != 2 || stdout != "" || stderr != test.want {
			t.Errorf("%v: got exit code %d, %q and %q, want 2 and %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestSchema(t *testing.T) {
	want, err := os.ReadFile("../../schemas/event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := exec(t, "schema"); code != 0 || stdout != string(want) || stderr != "" {
		t.Errorf("got exit code %d, %d bytes and %q, want the file's %d bytes", code, len(stdout), stderr, len(want))
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := exec(t, "version")
	for _, want := range []string{"bridge      devel\n", "built with  go1.", "revision    ", "TaskRouter", "urn:taskbridge:event-data:1.0\n"} {
		if code != 0 || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("got exit code %d, %q and\n%s\nwant it to hold %q", code, stderr, stdout, want)
		}
	}
}

func TestSimulateTellsWhenReadyAndStops(t *testing.T) {
	secret := write(t, t.TempDir(), "secret", "of the simulator\n")
	p := start(t, "simulate", "taskrouter", "--listen", "127.0.0.1:0", "--workers", "3", "--rate", "0", "--seed", "7", "--heartbeat", "1s",
		"--account", "AC0000000000000000000000000000000a", "--workspace", "WS0000000000000000000000000000000b",
		"--api-key", "SK0000000000000000000000000000000c", "--api-secret-file", secret)
	line := p.stdout.line(t, "{")
	var ready taskrouter.Ready
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		t.Fatal(err)
	}
	if ready.Account != "AC0000000000000000000000000000000a" || ready.Workspace != "WS0000000000000000000000000000000b" ||
		ready.APIKey != "SK0000000000000000000000000000000c" || ready.APISecret != "of the simulator" || len(ready.Workers) != 3 ||
		ready.Workers[2] != "WK00000000000000070000000000000003" {
		t.Errorf("got %+v, want what the flags say", ready)
	}
	if status, ledger := get(t, ready.ControlURL+"/ledger"); status != 200 || !strings.Contains(ledger, ready.Workers[0]) {
		t.Errorf("ledger: got status %d and %q", status, ledger)
	}
	p.stop()
	if err := p.wait(t); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if got := p.stdout.String(); got != line {
		t.Errorf("standard output: got %q, want the ready line alone", got)
	}
}

func TestReport(t *testing.T) {
	var stderr bytes.Buffer
	if code := report(nil, &stderr); code != 0 || stderr.Len() != 0 {
		t.Errorf("no error: got %d and %q, want 0 and nothing", code, stderr.String())
	}
	if code := report(os.ErrClosed, &stderr); code != 1 || stderr.String() != "file already closed\n" {
		t.Errorf("an error: got %d and %q, want 1 and its text", code, stderr.String())
	}
}

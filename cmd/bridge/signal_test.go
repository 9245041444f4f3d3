//go:build unix

package main

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the program in a process of its own.
type process struct {
	*osexec.Cmd
	stderr *output
	ended  chan struct{}
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: osexec.Command(os.Args[0], args...), stderr: newOutput(), ended: make(chan struct{})}
	p.Env = append(os.Environ(), "BRIDGE_TEST_AS_PROGRAM=1")
	p.Stderr = p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // the exit code says it
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // an error: it has ended
		<-p.ended
	})
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exits waits for the end of the process and returns its exit code.
func (p *process) exits(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("the process has not ended; it wrote:\n%s", p.stderr)
	}
	return p.ProcessState.ExitCode()
}

// A first SIGTERM waits for the broker, a second one ends the process and says what is left.
func TestSecondSignalExitsAtOnce(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "50")
	p := startProcess(t, "run", "-c", configure(t, sim, unreachable(t), "bridge: {stop: drain, drain_timeout: 1h}"))
	p.stderr.line(t, `"msg":"session is live"`)
	for _, next := range []string{`"msg":"gap opened"`, " accepted events are not delivered yet (facts: "} {
		p.signal(t, syscall.SIGTERM)
		p.stderr.line(t, next)
	}
	if code := p.exits(t); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
}

// A profile of a minute that somebody is taking does not hold up an exit at once.
func TestAnOpenRequestDoesNotDelayTheSecondSignal(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "0")
	address := free(t)
	file := configure(t, sim, unreachable(t), "bridge: {stop: drain, drain_timeout: 1h}")
	replaceIn(t, file, `admin: {listen: "127.0.0.1:0"}`, fmt.Sprintf("admin: {listen: %q}", address))
	p := startProcess(t, "run", "-c", file)
	p.stderr.line(t, `"msg":"session is live"`) // so that there is something that the stop waits for
	profiles, taken := "http://"+address+"/debug/pprof/", make(chan struct{})
	go func() {
		defer close(taken)
		if response, err := client.Get(profiles + "profile?seconds=60"); err == nil { // cut off
			_ = response.Body.Close()
		}
	}()
	eventually(t, "a profile is being taken", func() bool {
		_, goroutines := get(t, profiles+"goroutine?debug=2")
		return strings.Contains(goroutines, "pprof.Profile(")
	})
	p.signal(t, syscall.SIGTERM)
	p.stderr.line(t, `"msg":"bridge stops`)
	began := time.Now()
	p.signal(t, syscall.SIGTERM)
	if code, took := p.exits(t), time.Since(began); code != 1 || took > lastWords/2 || !strings.Contains(p.stderr.String(), "are not delivered yet (facts: ") {
		t.Errorf("got exit code %d after %v and %s, want it at once", code, took, p.stderr)
	}
	<-taken
}

// A command that hangs where no context reaches, here in a pipe that nobody writes to, ends with the first signal; one that may have something to lose
// with the second.
func TestSignalsEndEveryCommand(t *testing.T) {
	for command, signals := range map[string][]os.Signal{
		"validate": {syscall.SIGTERM},
		"agents":   {os.Interrupt},
		"run":      {syscall.SIGTERM, os.Interrupt},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			pipe := filepath.Join(t.TempDir(), "bridge.yaml")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			p := startProcess(t, command, "-c", pipe)
			writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when the command has begun to read
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = writer.Close() }()
			for _, s := range signals {
				p.signal(t, s)
			}
			if code := p.exits(t); code != 1 {
				t.Errorf("got exit code %d and %s, want 1", code, p.stderr)
			}
			if len(signals) == 1 && p.stderr.String() != "stopped by a signal\n" {
				t.Errorf("got %q, want what ended it", p.stderr)
			}
		})
	}
}

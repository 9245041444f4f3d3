package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/bench/page"
)

// programs builds all that a run needs into a folder beside this file: not below /tmp, which may be in memory.
func programs(t *testing.T) (dir string) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = os.MkdirTemp(here, "test-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for name, from := range map[string][2]string{
		"bench": {".", "."}, "nats-server": {".", "github.com/nats-io/nats-server/v2"}, "bridge": {"..", "./cmd/bridge"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), from[1])
		cmd.Dir = from[0]
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

func bench(t *testing.T, dir string, flags ...string) *exec.Cmd {
	t.Helper()
	args := []string{"run", "-bridge", filepath.Join(dir, "bridge"), "-nats", filepath.Join(dir, "nats-server"), "-peer", "", "-dir", dir}
	return exec.CommandContext(t.Context(), filepath.Join(dir, "bench"), append(args, flags...)...)
}

// A small run of every part, with the built programs: what the streams hold is what was sent, every figure is there, and nothing is left.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds three programs and runs them")
	}
	dir := programs(t)
	file := filepath.Join(dir, "results.json")
	small := bench(t, dir, "-only", "flood,idle", "-rounds", "1", "-events", "8000", "-sessions", "20", "-settle", "2s", "-busy", "4000", "-json", file)
	if out, err := small.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var figures page.Figures
	if err := json.Unmarshal(text, &figures); err != nil {
		t.Fatal(err)
	}
	if figures.Run == nil || figures.Allocations <= 0 || figures.Machine.Cores == 0 {
		t.Fatalf("got %s", text)
	}
	got := figures.Run
	if len(got.Flood) != 2 || len(got.Idle) != 3 || len(got.Sessions) != 1 || got.Storm == nil || got.Versions["bridge"] == "" {
		t.Fatalf("got %s", text)
	}
	for _, r := range append(got.Flood, got.Sessions...) {
		if v := r.Verified; v.Events != int(r.Events) || r.Seconds <= 0 || r.RSS <= 0 || r.Calibration <= 0 || r.Rate > 0 && r.P50 <= 0 {
			t.Errorf("got %+v", r)
		}
	}
	for _, i := range got.Idle {
		if i.RSS <= 0 || i.Goroutines <= float64(i.Sessions) || i.Heap <= 0 || i.Stacks <= 0 {
			t.Errorf("got %+v", i)
		}
	}
	if s := got.Storm; s.Sessions != 20 || s.Dials < 20 || s.Peak < 1 || s.Seconds <= 0 {
		t.Errorf("got %+v", s)
	}
	nothingLeft(t, dir)
}

// An interrupted run ends its programs and removes its files.
func TestInterrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("builds three programs and runs them")
	}
	dir := programs(t)
	cmd := bench(t, dir, "-only", "idle", "-sessions", "20", "-settle", "10m")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(io.TeeReader(out, &said)); lines.Scan(); {
		if strings.Contains(lines.Text(), "they rest") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("got no error of an interrupted run; it wrote:\n%s", said.String())
	}
	nothingLeft(t, dir)
}

// nothingLeft looks for programs that were built in dir, and for folders of rounds.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatalf("got %d processes, %v", len(lines), err)
	}
	for _, file := range lines {
		if line, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(line), dir) {
			t.Errorf("%s still runs", strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

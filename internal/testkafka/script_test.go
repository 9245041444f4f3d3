package testkafka

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// folder is what scripts/kafka makes of a cluster of one node, with a pid file of the test's.
func folder(t *testing.T, pid string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"ports": "1 CTL 1\n1 PLAINTEXT 2\n", "1/pid": pid} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestForeignProcess: the number in a pid file may be that of another process by now, which is not touched.
func TestForeignProcess(t *testing.T) {
	needScript(t)
	for name, test := range map[string]struct {
		own   bool // it has the node's arguments
		later bool // it began at another time than the file says
		ends  bool
	}{
		"the node":                       {own: true, ends: true},
		"another program":                {},
		"another cluster's, later begun": {own: true, later: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, "")
			args := []string{"-c", "read end", "node"}
			if test.own {
				args = append(args, filepath.Join(dir, "1", "server.properties"))
			}
			other := exec.Command("sh", args...)
			if _, err := other.StdinPipe(); err != nil { // what it waits for does not come
				t.Fatal(err)
			}
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = other.Process.Kill()
				_ = other.Wait() // its state is known
			})
			pid := strconv.Itoa(other.Process.Pid)
			born := strings.Fields(read(t, filepath.Join("/proc", pid, "stat")))[21]
			if test.later {
				born = "1"
			}
			if err := os.WriteFile(filepath.Join(dir, "1", "pid"), []byte(pid+" "+born+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range [][]string{{"stop", dir, "1"}, {"down", dir}, {"kill9", dir, "1"}, {"pause", dir, "1"}} {
				if test.ends && command[0] != "kill9" {
					continue
				}
				_ = exec.Command(script(t), command...).Run() // down says nothing of a node that does not run
			}
			if state := strings.Fields(read(t, filepath.Join("/proc", pid, "stat")))[2]; (state == "Z") != test.ends || state == "T" {
				t.Errorf("the process is in state %s; it should have ended: %t", state, test.ends)
			}
		})
	}
}

func needScript(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("scripts/kafka needs Linux's /proc")
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("scripts/kafka needs bash")
	}
}

// TestRefusals: what the script says to a mistake.
func TestRefusals(t *testing.T) {
	needScript(t)
	dir := folder(t, "")
	for name, test := range map[string]struct {
		args []string
		env  string
		want string
	}{
		"unknown command":      {[]string{"upp", dir}, "", "unknown command upp"},
		"two nodes":            {[]string{"up", t.TempDir(), "2"}, "", "got 2 nodes, want 1 or 3"},
		"unknown option":       {[]string{"up", t.TempDir(), "1", "--tsl"}, "", "unknown option --tsl"},
		"no value":             {[]string{"up", t.TempDir(), "1", "--set"}, "", "--set needs a value"},
		"up twice":             {[]string{"up", dir, "1"}, "", "has a cluster already"},
		"no cluster":           {[]string{"down", t.TempDir()}, "", "no cluster in"},
		"no such node":         {[]string{"kill9", dir, "2"}, "", "no node 2 in"},
		"node does not run":    {[]string{"stop", dir, "1"}, "", "node 1 of " + dir + " does not run"},
		"no such listener":     {[]string{"brokers", dir, "SSL"}, "", "no listener SSL in"},
		"a Kafka without libs": {[]string{"up", t.TempDir(), "1"}, "KAFKA_HOME=" + t.TempDir(), "run: scripts/kafka fetch"},
	} {
		t.Run(name, func(t *testing.T) {
			command := exec.Command(script(t), test.args...)
			command.Env = append(os.Environ(), test.env)
			out, err := command.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("got %v, %q, want %q", err, out, test.want)
			}
		})
	}
}

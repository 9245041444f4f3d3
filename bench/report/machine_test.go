package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestMountType(t *testing.T) {
	const mounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:5 / /data rw - xfs /dev/vdb rw
25 24 0:6 / /data/fast rw,relatime shared:3 master:1 - btrfs /dev/vdc rw
26 22 0:7 / /data rw - tmpfs tmpfs rw
`
	for dir, want := range map[string]string{
		"/home/bench":  "ext4",
		"/data":        "tmpfs", // mounted over xfs
		"/data/x":      "tmpfs",
		"/data/fast":   "btrfs",
		"/data/faster": "tmpfs", // a name that begins alike is not below
	} {
		if got, err := mountType([]byte(mounts), dir); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", dir, got, err, want)
		}
	}
	if got, err := mountType(nil, "/"); err == nil {
		t.Errorf("no mounts: got %q, want an error", got)
	}
}

// newRepo is a working tree with one commit.
func newRepo(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "-q"},
		{"-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "--allow-empty", "-m", "first"},
	} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

func TestDescribe(t *testing.T) {
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Skip("only Linux is described")
	}
	repo := newRepo(t)
	m, err := Describe(t.Context(), t.TempDir(), repo)
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU == "" || m.Cores < 1 || m.MemoryBytes < 1<<26 || m.Kernel == "" || m.FileSystem == "" || !strings.HasPrefix(m.Go, "go1.") {
		t.Errorf("got %+v, want every field of it", m)
	}
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(m.Commit) || m.Dirty {
		t.Errorf("commit: got %q, dirty %v, want that of a clean tree", m.Commit, m.Dirty)
	}
	if err := os.WriteFile(filepath.Join(repo, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err = Describe(t.Context(), t.TempDir(), repo)
	if err != nil || !m.Dirty {
		t.Errorf("with a new file: got dirty %v, %v, want true", m.Dirty, err)
	}
	if table := m.Table().String(); !strings.Contains(table, m.Commit+", with changes") {
		t.Errorf("the table does not say which commit was changed:\n%s", table)
	}
	if _, err := Describe(t.Context(), t.TempDir(), t.TempDir()); err == nil {
		t.Error("no repository: got no error")
	}
}

func TestCalibrate(t *testing.T) {
	if got := Calibrate(); got <= 0 {
		t.Errorf("got %v MB/s, want some", got)
	}
}

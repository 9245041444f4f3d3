package report

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what a figure depends on beside the code: without it two reports cannot be compared.
type Machine struct {
	CPU         string // model name, from /proc/cpuinfo
	Cores       int    // logical ones that this process may use
	MemoryBytes int64  // MemTotal of /proc/meminfo
	Kernel      string // release, from /proc/sys/kernel/osrelease
	FileSystem  string // type of the one that holds the data, from /proc/self/mountinfo
	Go          string // version of the toolchain
	Commit      string // 40 hexadecimal digits
	Dirty       bool   // the working tree differs from Commit
}

// Describe describes this machine, with dataDir's file system and the commit that the working tree at repo is at. Linux only; it needs git in the PATH.
func Describe(ctx context.Context, dataDir, repo string) (Machine, error) {
	m := Machine{Cores: runtime.GOMAXPROCS(0), Go: runtime.Version()}
	var errs []error
	note := func(err error) { errs = append(errs, err) }

	cpu, err := field("/proc/cpuinfo", "model name")
	note(err)
	m.CPU = cpu
	memory, err := field("/proc/meminfo", "MemTotal")
	note(err)
	if kib, ok := strings.CutSuffix(memory, " kB"); ok {
		n, err := strconv.ParseInt(kib, 10, 64)
		note(err)
		m.MemoryBytes = n << 10
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	note(err)
	m.Kernel = strings.TrimSpace(string(kernel))
	m.FileSystem, err = fileSystem(dataDir)
	note(err)
	m.Commit, m.Dirty, err = commit(ctx, repo)
	note(err)
	return m, errors.Join(errs...)
}

// field is the value of the first line "name : value" of a file of /proc.
func field(file, name string) (string, error) {
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no line %q", file, name)
}

func fileSystem(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return mountType(mounts, dir)
}

// mountType is the type of the file system that is mounted closest above dir (proc_pid_mountinfo(5)): the fifth word of a line is where, the first
// after " - " is the type. Of two mounts at the same place the later one hides the other.
func mountType(mountinfo []byte, dir string) (string, error) {
	found, at := "", ""
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		place, kind, ok := strings.Cut(lines.Text(), " - ")
		words, kinds := strings.Fields(place), strings.Fields(kind)
		if !ok || len(words) < 5 || len(kinds) < 1 {
			continue
		}
		where := words[4]
		if below := where == "/" || dir == where || strings.HasPrefix(dir, where+"/"); below && len(where) >= len(at) {
			found, at = kinds[0], where
		}
	}
	if found == "" {
		return "", fmt.Errorf("no file system is known to hold %s", dir)
	}
	return found, lines.Err()
}

func commit(ctx context.Context, repo string) (id string, dirty bool, err error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", repo}, args...)...).Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", args[0], err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if id, err = git("rev-parse", "HEAD"); err != nil {
		return "", false, err
	}
	changed, err := git("status", "--porcelain")
	return id, changed != "", err
}

// Table describes the machine in two columns.
func (m Machine) Table() Table {
	commit := m.Commit
	if m.Dirty {
		commit += ", with changes"
	}
	return Table{
		Header: []string{"machine", ""},
		Rows: [][]string{
			{"processor", m.CPU},
			{"cores", strconv.Itoa(m.Cores)},
			{"memory", fmt.Sprintf("%.1f GiB", float64(m.MemoryBytes)/(1<<30))},
			{"kernel", m.Kernel},
			{"file system", m.FileSystem},
			{"Go", m.Go},
			{"commit", commit},
		},
	}
}

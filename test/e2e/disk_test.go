package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

// small is a file system of 32 MiB in memory, which is not there any more when the test ends.
func small(t *testing.T) (dir string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("needs to mount a file system: root on Linux")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("may not mount: %s", out)
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Errorf("unmount: %s", out)
		_ = exec.Command("umount", "--lazy", dir).Run()
	}
}

// fullDisks are ways in which a disk fills up while the broker is away.
var fullDisks = map[string]struct {
	policy  string
	ballast bool // somebody else fills it
	gaps    int  // of each agent before the broker is back
	verify  bool
}{
	"gap":                     {policy: "gap", gaps: 1},
	"gap, somebody else":      {policy: "gap", gaps: 1, ballast: true},
	"skip_slowest":            {policy: "skip_slowest", gaps: 1},
	"skip_slowest, long gone": {policy: "skip_slowest", gaps: 10, verify: true}, // the log holds fewer segments: it skips what tells of skipping
}

// TestFullDisk: while the broker is away, a disk of 32 MiB fills up. The sessions stay, the gaps say why, and all recovers without help.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, f := range fullDisks {
		t.Run(name, func(t *testing.T) {
			long(t)
			if f.verify {
				verify(t)
			}
			t.Parallel()
			pace := flood
			if f.gaps > 1 {
				pace = torrent
			}
			dir := small(t)
			b := newBroker(t, shortWindow)
			r := newRig(t, setup{flood: float64(pace), broker: b, more: fmt.Sprintf("spool: {dir: %q, full: %s}", filepath.Join(dir, "spool"), f.policy)})
			r.grow(t, pace)
			before := r.state(t)
			b.kill(t)
			began := time.Now()
			if f.ballast {
				fill(t, filepath.Join(dir, "ballast"))
			}
			s := scenario{cause: event.CauseSpoolFull, gaps: 1000, faults: []fault{{}}}
			until(t, "the log is full, and says so of everybody", func() bool { return r.metric(t, `taskbridge_gaps_total{cause="spool_full"}`) >= float64(f.gaps*agents) })
			r.grow(t, 5*pace)
			if err := untouched(before, r.state(t)); err != nil {
				t.Error(err)
			}
			if f.ballast {
				if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
					t.Fatal(err)
				}
			}
			b.start(t)
			r.recovered(t, before, f.policy == "gap")
			s.lasted = time.Since(began)
			r.settle(t, s)
		})
	}
}

// recovered returns once everybody is received without help; those whose frames were discarded have a new session.
func (r *rig) recovered(t *testing.T, before simulator.State, replaced bool) {
	t.Helper()
	if replaced {
		r.opened(t, before, 1)
	}
	r.grow(t, 200)
	until(t, "every gap is closed", func() bool { return gapsOpen(r.stored(t)) == 0 })
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

// sicknesses are what befalls a disk while a bridge is at work, and how it ends.
var sicknesses = map[string]struct {
	inject string // by strace; "": the life does it itself
	fails  bool   // else it is slow: sessions may be replaced between two groups
}{
	"fsync fails":           {fails: true},
	"fsync is slow":         {},
	"fsync fails, strace":   {fails: true, inject: "fdatasync:error=EIO"},
	"fsync is slow, strace": {inject: fmt.Sprintf("fdatasync:delay_exit=%d", slow.Microseconds())},
}

// TestSickDisk: while the disk does not take what is written, nothing is accepted, the sessions stay, and the gaps say why; once it does, all recovers
// without help.
func TestSickDisk(t *testing.T) {
	t.Parallel()
	for name, d := range sicknesses {
		t.Run(name, func(t *testing.T) {
			long(t)
			t.Parallel()
			pace := flood // fills what is held back in memory
			if d.fails {
				pace = rate
			}
			m := newMortal(t, float64(pace))
			m.life.MaxBytes = 256 << 20 // not full when a slow machine has not yet published what a slow disk held back; a stage is of 8 MiB then
			m.life.Trouble = filepath.Join(t.TempDir(), "trouble")
			m.bridge = m.life.begin(t)
			m.live(t)
			m.grow(t, pace)
			sessions := m.state(t)
			var end func()
			began := time.Now()
			if d.inject != "" {
				end = m.inject(t, d.inject)
			} else {
				end = m.trouble(t, d.fails)
			}
			for _, agent := range m.vendor.Workers {
				m.bridge.stderr.wait(t, `"msg":"gap opened","agent":"`+agent+`","feed":"live","cause":"disk_stalled"`)
			}
			m.grow(t, 7*pace)
			landed := m.stored(t)
			accepted := map[string]bool{}
			for _, id := range m.known(t) {
				accepted[id] = true
			}
			for _, l := range landed {
				if !accepted[l.Event.ID] {
					t.Errorf("%s landed, and no disk holds it", l.Event.ID)
				}
			}
			if err := untouched(sessions, m.state(t)); err != nil && d.fails {
				t.Error(err)
			}
			end()
			m.recovered(t, sessions, true)
			m.scenario = scenario{cause: event.CauseDiskStalled, gaps: 1000, faults: []fault{{}}, lasted: time.Since(began)}
			m.delivered(t)
		})
	}
}

// trouble lets the life's disk fail, or be slow, until the result is called.
func (m *mortal) trouble(t *testing.T, fails bool) (end func()) {
	t.Helper()
	what := ""
	if fails {
		what = failing
	}
	if err := os.Rename(write(t, t.TempDir(), "trouble", what), m.life.Trouble); err != nil { // whole, or it would be of the other kind for a moment
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(m.life.Trouble); err != nil {
			t.Fatal(err)
		}
	}
}

// inject lets the kernel answer the bridge's system calls so until the result is called.
func (m *mortal) inject(t *testing.T, what string) (end func()) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	p := spawn(t, path, nil, "-f", "-q", "-o", os.DevNull, "-e", "trace=fdatasync", "-e", "inject="+what, "-p", fmt.Sprint(m.bridge.cmd.Process.Pid))
	select {
	case <-p.ended:
		t.Skipf("strace may not: %s", p.stderr.String())
	case <-time.After(time.Second):
	}
	return func() {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-p.ended
	}
}

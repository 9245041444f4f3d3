package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// volume makes an ext4 file system in a file.
func volume(t *testing.T) (image string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs to mount file systems: root")
	}
	image = write(t, t.TempDir(), "image", "")
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Skipf("no ext4: %v: %s", err, out)
	}
	return image
}

// mount makes an image a folder until the test ends. Nothing reaches the image but by fsync: the journal's timer has no part in it.
func mount(t *testing.T, image string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %s", out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach: %s", out)
		}
	})
	if out, err := exec.Command("mount", "-o", "commit=600", device, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %s", out)
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

// TestPowerCut: the volume of a bridge under load is copied at random instants while its writers are stopped, as a power cut would leave it: with what was
// synced, and without what the kernel holds in memory. A bridge that starts from the copy delivers all that was accepted and had not landed.
func TestPowerCut(t *testing.T) {
	verify(t)
	m := onVolume(t)
	held := 0
	for range 20 {
		lost, delivered := m.cutPower(t)
		held += delivered
		if len(lost) > 0 {
			t.Errorf("%d events were accepted and are not there: %q", len(lost), lost[:min(10, len(lost))])
		}
	}
	if t.Logf("%d events were in the copies alone", held); held == 0 {
		t.Error("whatever was accepted had landed before: the copies prove nothing")
	}
	m.stop(t)
}

// TestPowerCutControl: where nothing is synced, it is seen that accepted events are lost.
func TestPowerCutControl(t *testing.T) {
	verify(t)
	m := onVolume(t)
	m.bridge.kill(t)
	m.life.Without = syncs
	m.bridge = m.life.begin(t)
	m.rig.live(t)
	n := 0
	for range 4 {
		lost, _ := m.cutPower(t)
		n += len(lost)
	}
	if n == 0 {
		t.Error("nothing is lost")
	}
}

// onVolume is a bridge whose log has a volume of its own.
func onVolume(t *testing.T) *mortal {
	t.Helper()
	m := newMortal(t, flood)
	m.image = volume(t)
	m.life.Spool = filepath.Join(mount(t, m.image), "spool")
	m.bridge = m.life.begin(t)
	m.rig.live(t)
	t.Cleanup(func() { // before the volume goes
		_ = m.bridge.cmd.Process.Kill() // an error: it has ended
		<-m.bridge.ended
	})
	return m
}

// cutPower copies the volume at a random instant and delivers what the copy holds. lost are the events that were accepted and had neither landed nor were
// in the copy; delivered is how many landed from the copy alone.
func (m *mortal) cutPower(t *testing.T) (lost []string, delivered int) {
	t.Helper()
	t.Run("instant", func(t *testing.T) {
		m.server.gate.lead("") // what is accepted from now on does not land
		<-time.After(rand.N(2 * time.Second))
		m.pause(t)
		accepted, before := m.known(t), slices.Clone(m.landed)
		image := filepath.Join(t.TempDir(), "image")
		if out, err := exec.Command("cp", "--sparse=always", m.image, image).CombinedOutput(); err != nil {
			t.Fatalf("copy: %s", out)
		}
		m.resume(t)
		m.server.gate.lead(m.server.address)

		b := newBroker(t, m.server.window)
		text, err := os.ReadFile(m.config)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte(m.server.sink()), []byte(b.sink()))
		dir := filepath.Dir(m.config)
		config := write(t, dir, "copy.yaml", string(text))
		p := launch(t, nil, "drain", "-c", config, "--spool", filepath.Join(mount(t, image), "spool"))
		<-p.ended
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("drain ended with exit code %d: %s", code, p.stderr.String())
		}
		after := (&rig{server: b}).stored(t)
		delivered = len(after)
		lost = missingOf(accepted, before, after)
		t.Logf("%d accepted, %d landed, %d delivered from the copy", len(accepted), len(before), delivered)
	})
	return lost, delivered
}

// pause stops every thread of the bridge; none is in the midst of a system call then.
func (m *mortal) pause(t *testing.T) {
	t.Helper()
	if err := m.bridge.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "all threads are stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", m.bridge.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("got %d threads and %v", len(threads), err)
		}
		return !slices.ContainsFunc(threads, func(name string) bool {
			stat, err := os.ReadFile(filepath.Clean(name))
			return err != nil || !bytes.Contains(stat, []byte(") T "))
		})
	})
}

func (m *mortal) resume(t *testing.T) {
	t.Helper()
	if err := m.bridge.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

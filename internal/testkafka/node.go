package testkafka

import (
	"os/exec"
	"strconv"
	"testing"
)

// Kill is kill -9 of a node, and returns when its ports are closed.
func (c *Cluster) Kill(t testing.TB, node int) {
	t.Helper()
	c.command(t, "kill9", node)
}

// Stop shuts a node down in order: its leaders move first.
func (c *Cluster) Stop(t testing.TB, node int) {
	t.Helper()
	c.command(t, "stop", node)
}

// Start starts a node that is down, at its former address, and returns when it can be used.
func (c *Cluster) Start(t testing.TB, node int) {
	t.Helper()
	c.command(t, "start", node)
}

// Pause is SIGSTOP: the node's connections stay, and nothing is answered. It ends with a test that fails.
func (c *Cluster) Pause(t testing.TB, node int) {
	t.Helper()
	c.command(t, "pause", node)
	t.Cleanup(func() {
		if t.Failed() {
			c.Continue(t, node)
		}
	})
}

// Continue undoes Pause.
func (c *Cluster) Continue(t testing.TB, node int) {
	t.Helper()
	c.command(t, "cont", node)
}

func (c *Cluster) command(t testing.TB, name string, node int) {
	t.Helper()
	c.script(t, name, c.dir, strconv.Itoa(node))
}

// script returns what a command of the script prints.
func (c *Cluster) script(t testing.TB, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), script(t), args...)
	command.Env = environment()
	return output(t, command)
}

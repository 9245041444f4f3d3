package testkafka

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// tool returns what one of Kafka's own tools prints.
func (c *Cluster) tool(t testing.TB, class string, args ...string) []byte {
	t.Helper()
	return c.script(t, append([]string{"tool", c.dir, class, "--bootstrap-server", strings.Join(c.Brokers(), ",")}, args...)...)
}

// output returns what a program prints; one that fails fails the test.
func output(t testing.TB, command *exec.Cmd) []byte {
	t.Helper()
	var errors bytes.Buffer
	command.Stderr = &errors
	text, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, &errors)
	}
	return text
}

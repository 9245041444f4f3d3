// Package testkafka is for tests: a real Apache Kafka on loopback that scripts/kafka starts, with what tests do to a cluster, its topics and its records.
//
// A test that starts a cluster is skipped unless BRIDGE_TEST_KAFKA names the folder where Apache Kafka is, which scripts/kafka fetch makes and make kafka
// sets; with more than one node, also unless BRIDGE_TEST_KAFKA_NODES allows that many, as make verify does. A node starts in some seconds and takes 250 MB, so
// a package starts one cluster, in a test whose subtests have a topic each.
//
// All functions fail the test instead of returning errors, and are for the test's own goroutine. What they ask of a cluster they ask again for a minute while
// a broker is away or a leader moves.
package testkafka

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// Options say what a cluster is like.
type Options struct {
	Nodes int               // 1 or 3; 0 is 1. Three replicate each record to all and need two
	TLS   bool              // a listener SSL, which asks for a client's certificate
	SASL  bool              // a listener SASL_PLAINTEXT; with TLS also SASL_SSL, which asks for no certificate
	ACL   bool              // only the user admin and whoever comes over PLAINTEXT may do what nobody has allowed
	Set   map[string]string // further properties of every broker
}

// Cluster is a running Apache Kafka. Its nodes have the numbers from 1.
type Cluster struct {
	dir   string // of all its files
	ports []port
	admin *kafka.Client
}

type port struct {
	node     int
	listener string
	address  string
}

// patience is how long anything may take; only a test that fails waits for so long.
const patience = time.Minute

// Start starts a cluster, which ends with the test, or with this process if that does not live to see the test's end.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.Nodes = max(o.Nodes, 1)
	if home() == "" {
		t.Skip("BRIDGE_TEST_KAFKA does not say where Apache Kafka is: see make kafka")
	}
	if most, _ := strconv.Atoi(os.Getenv("BRIDGE_TEST_KAFKA_NODES")); o.Nodes > max(most, 1) {
		t.Skipf("BRIDGE_TEST_KAFKA_NODES does not allow %d nodes: see make verify", o.Nodes)
	}
	c := &Cluster{dir: filepath.Join(t.TempDir(), "kafka")}
	args := []string{"run", c.dir, strconv.Itoa(o.Nodes)}
	for flag, wanted := range map[string]bool{"--tls": o.TLS, "--sasl": o.SASL, "--acl": o.ACL} {
		if wanted {
			args = append(args, flag)
		}
	}
	for name, value := range o.Set {
		args = append(args, "--set", name+"="+value)
	}
	run(t, args)
	c.readPorts(t)
	c.admin = c.Connect(t, "PLAINTEXT", nil, nil)
	return c
}

// run runs the cluster until the test's end. The script takes it down when its input ends, as it does in whatever way this process ends; in a session of its
// own it survives what ends all processes of this one.
func run(t testing.TB, args []string) {
	t.Helper()
	running := exec.Command("setsid", append([]string{script(t)}, args...)...)
	running.Env = environment()
	var errors bytes.Buffer
	running.Stderr = &errors
	input, err := running.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := running.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		if err := running.Wait(); err != nil && !t.Failed() {
			t.Errorf("the cluster did not end well: %v: %s", err, &errors)
		}
	})
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "ready\n" {
		_ = input.Close()
		_ = running.Wait()
		t.Fatalf("the cluster did not start: got %q, %v: %s", line, err, &errors)
	}
}

func home() string { return os.Getenv("BRIDGE_TEST_KAFKA") }

func environment() []string { return append(os.Environ(), "KAFKA_HOME="+home()) }

// script is scripts/kafka of this repository, in which every test runs.
func script(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, "scripts", "kafka"); exists(path) {
			return path
		}
	}
	t.Fatal("no scripts/kafka in the folders above this test")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readPorts reads the lines "NODE LISTENER PORT" that the script has written.
func (c *Cluster) readPorts(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "ports"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		node, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		c.ports = append(c.ports, port{node, fields[1], "127.0.0.1:" + fields[2]})
	}
}

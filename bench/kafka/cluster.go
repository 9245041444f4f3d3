// Package kafka is a real Apache Kafka for the bench: it starts a cluster on loopback with scripts/kafka, each node a process of its own, makes and deletes
// topics, reads them back and moves leaders. It does so with franz-go, so that what judges the bridge's sink is no code of the library that the sink is made of.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/taskbridge/taskbridge/bench/process"
)

// Cluster is a running Apache Kafka. Its nodes have the numbers from 1. Not safe for concurrent use, unless a method says so.
type Cluster struct {
	// Brokers are where its nodes answer, host:port, without TLS.
	Brokers []string

	script, dir string
	running     *process.Process
	client      *kgo.Client
	admin       *kadm.Client
}

// Available makes sure that there is an Apache Kafka to start, and fetches it where Java and Maven are installed. The error says why there is none.
func Available(ctx context.Context, script string) error {
	for _, need := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(need); err != nil {
			return fmt.Errorf("no %s in the PATH; scripts/kafka fetch installs it on Debian", need)
		}
	}
	if out, err := exec.CommandContext(ctx, script, "fetch").CombinedOutput(); err != nil {
		return fmt.Errorf("%s fetch: %w: %s", script, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Start starts a new cluster of 1 or 3 nodes, with its files in dir, which is not there yet, and properties that all of them have. Nodes run as scripts/kafka
// runs them but with both compilers and 512 MB of heap each.
func Start(ctx context.Context, script, dir string, nodes int, properties ...string) (c *Cluster, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	args := []string{"run", dir, fmt.Sprint(nodes)}
	for _, option := range []string{"-Xms512m", "-Xmx512m", "-XX:TieredStopAtLevel=4"} {
		args = append(args, "--java", option)
	}
	for _, p := range properties {
		args = append(args, "--set", p)
	}
	c = &Cluster{script: script, dir: dir}
	c.running, err = process.Start(ctx, process.Command{Path: script, Args: args, Held: true, Ready: func(line string) bool { return line == "ready" }})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	out, err := exec.CommandContext(ctx, script, "brokers", dir).Output()
	if err != nil {
		return nil, fmt.Errorf("find the brokers: %w", err)
	}
	return c, c.connect(strings.Split(strings.TrimSpace(string(out)), ","))
}

// Connect is of a cluster that somebody else has started: what is about its nodes' processes cannot be asked of it.
func Connect(brokers []string) (*Cluster, error) {
	c := &Cluster{}
	return c, c.connect(brokers)
}

func (c *Cluster) connect(brokers []string) (err error) {
	c.Brokers = brokers
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(brokers...)); err == nil {
		c.admin = kadm.NewClient(c.client)
	}
	return err
}

// Version is what the first node says of itself, such as "v4.3".
func (c *Cluster) Version(ctx context.Context) (string, error) {
	versions, err := c.admin.ApiVersions(ctx)
	if err != nil {
		return "", err
	}
	for _, v := range versions.Sorted() {
		if v.Err == nil {
			return v.VersionGuess(), nil
		}
	}
	return "", errors.New("no broker tells its version")
}

// Usage is what all nodes have used together since each was started last.
func (c *Cluster) Usage() (sum process.Usage, err error) {
	for node := range c.Brokers {
		pid, err := c.pid(node + 1)
		if err != nil {
			return sum, err
		}
		u, err := process.UsageOf(pid)
		if err != nil {
			return sum, fmt.Errorf("node %d: %w", node+1, err)
		}
		sum.CPU += u.CPU
		sum.RSS += u.RSS
		sum.Peak += u.Peak
	}
	return sum, nil
}

// pid is that of a node that runs, as the script has written it.
func (c *Cluster) pid(node int) (pid int, err error) {
	text, err := os.ReadFile(filepath.Join(c.dir, fmt.Sprint(node), "pid"))
	if err != nil {
		return 0, fmt.Errorf("node %d does not run: %w", node, err)
	}
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return 0, fmt.Errorf("node %d: pid file %q: %w", node, text, err)
	}
	return pid, nil
}

// Kill is kill -9 of a node, and returns when it is gone.
func (c *Cluster) Kill(ctx context.Context, node int) error { return c.command(ctx, "kill9", node) }

// Restart starts a node that is down, and returns when it can be used.
func (c *Cluster) Restart(ctx context.Context, node int) error {
	return c.command(ctx, "start", node)
}

func (c *Cluster) command(ctx context.Context, name string, node int) error {
	if out, err := exec.CommandContext(ctx, c.script, name, c.dir, fmt.Sprint(node)).CombinedOutput(); err != nil {
		return fmt.Errorf("%s node %d: %w: %s", name, node, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Err says that what holds the nodes has ended. Safe for concurrent use.
func (c *Cluster) Err() error { return c.running.Err() }

// Stop kills all nodes and removes their files, of a cluster that Start has started.
func (c *Cluster) Stop() error {
	if c.client != nil {
		c.client.Close()
	}
	if c.running == nil {
		return nil
	}
	return errors.Join(c.running.Stop(), os.RemoveAll(c.dir))
}

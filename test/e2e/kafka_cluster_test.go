package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// kafkaFault happens to a cluster of three that replicates each record to all and needs two. Once or more it calls meanwhile, while brokers are away or have just
// changed their places.
type kafkaFault func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func())

var kafkaFaults = map[string]kafkaFault{
	"rolling restart": func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func()) {
		for node := 1; node <= 3; node++ {
			c.Stop(t, node)
			r.grow(t, rate)
			meanwhile()
			c.Start(t, node)
			r.grow(t, rate)
		}
	},
	"all leaders move": func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func()) {
		for n := range 7 {
			c.MoveLeaders(t, r.topic.name)
			if n%3 == 0 {
				meanwhile()
			}
			r.grow(t, rate)
		}
	},
	"a leader killed": func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func()) {
		for range 3 {
			leader := c.Leaders(t, r.topic.name)[0]
			c.Kill(t, leader)
			meanwhile()
			r.grow(t, torrent)
			c.Start(t, leader)
			r.grow(t, rate)
		}
	},
	"a leader paused": func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func()) {
		leader := c.Leaders(t, r.topic.name)[0]
		c.Pause(t, leader)
		meanwhile()
		<-time.After(freeze)
		c.Continue(t, leader)
	},
	"two of three paused": func(t *testing.T, c *testkafka.Cluster, _ *rig, meanwhile func()) {
		c.Pause(t, 1)
		c.Pause(t, 2)
		meanwhile()
		<-time.After(freeze)
		c.Continue(t, 1)
		c.Continue(t, 2)
	},
	"two of three killed": func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func()) { // what the third has got is confirmed by nobody
		leader := c.Leaders(t, r.topic.name)[0]
		for node := 1; node <= 3; node++ {
			if node != leader {
				c.Kill(t, node)
			}
		}
		r.bridge.stderr.wait(t, `"reason":`)
		meanwhile()
		r.grow(t, torrent)
		for node := 1; node <= 3; node++ {
			if node != leader {
				c.Start(t, node)
			}
		}
	},
	"two of three stopped": func(t *testing.T, c *testkafka.Cluster, r *rig, meanwhile func()) {
		c.Stop(t, 2)
		c.Stop(t, 3)
		r.bridge.stderr.wait(t, `"reason":"replicas"`) // NOT_ENOUGH_REPLICAS (19)
		meanwhile()
		r.grow(t, torrent)
		c.Start(t, 2)
		c.Start(t, 3)
	},
}

// TestKafkaCluster: whatever happens to brokers of which others can take over or not, everything lands once and in order.
func TestKafkaCluster(t *testing.T) {
	verify(t)
	c := testkafka.Start(t, testkafka.Options{Nodes: 3})
	for name, strike := range kafkaFaults {
		k := newTopic(t, c, "cluster-"+strings.ReplaceAll(name, " ", "-"))
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{flood: flood, topic: k})
			r.grow(t, torrent)
			strike(t, c, r, func() {})
			r.grow(t, torrent)
			r.settle(t, scenario{})
		})
	}
}

// TestKafkaClusterCrash: the same, and meanwhile the bridge is killed and started again. What was not accepted lies in gaps.
func TestKafkaClusterCrash(t *testing.T) {
	verify(t)
	c := testkafka.Start(t, testkafka.Options{Nodes: 3})
	for name, strike := range kafkaFaults {
		if name == "two of three paused" {
			continue // nobody can replace them, and they may store in the end what the dead bridge had under way (docs/guarantees.md)
		}
		k := newTopic(t, c, "crash-"+strings.ReplaceAll(name, " ", "-"))
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{flood: flood, topic: k})
			r.grow(t, torrent)
			s := scenario{cause: event.CauseCrash}
			strike(t, c, r, func() {
				began := time.Now()
				r.bridge.kill(t)
				r.start(t)
				s.gaps++
				s.faults, s.lasted = append(s.faults, fault{}), max(s.lasted, time.Since(began))
			})
			r.healed(t, s)
			r.settle(t, s)
		})
	}
}

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// kafkaFaults are what happens to a cluster of three that replicates each record to all and needs two.
var kafkaFaults = map[string]func(t *testing.T, c *testkafka.Cluster, r *rig){
	"rolling restart": func(t *testing.T, c *testkafka.Cluster, r *rig) {
		for node := 1; node <= 3; node++ {
			c.Stop(t, node)
			r.grow(t, rate)
			c.Start(t, node)
			r.grow(t, rate)
		}
	},
	"all leaders move": func(t *testing.T, c *testkafka.Cluster, r *rig) {
		for range 7 {
			c.MoveLeaders(t, r.topic.name)
			r.grow(t, rate)
		}
	},
	"a leader killed": func(t *testing.T, c *testkafka.Cluster, r *rig) {
		for range 3 {
			leader := c.Leaders(t, r.topic.name)[0]
			c.Kill(t, leader)
			r.grow(t, flood)
			c.Start(t, leader)
			r.grow(t, rate)
		}
	},
	"a leader paused": func(t *testing.T, c *testkafka.Cluster, r *rig) {
		leader := c.Leaders(t, r.topic.name)[0]
		c.Pause(t, leader)
		<-time.After(freeze)
		c.Continue(t, leader)
	},
	"two of three paused": func(t *testing.T, c *testkafka.Cluster, _ *rig) {
		c.Pause(t, 1)
		c.Pause(t, 2)
		<-time.After(freeze)
		c.Continue(t, 1)
		c.Continue(t, 2)
	},
	"two of three stopped": func(t *testing.T, c *testkafka.Cluster, r *rig) {
		c.Stop(t, 2)
		c.Stop(t, 3)
		r.bridge.stderr.wait(t, `"reason":"replicas"`) // NOT_ENOUGH_REPLICAS (19)
		r.grow(t, flood)
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
			r := newRig(t, setup{flood: flood / 2, topic: k})
			r.grow(t, flood)
			strike(t, c, r)
			r.grow(t, flood)
			r.settle(t, scenario{})
		})
	}
}

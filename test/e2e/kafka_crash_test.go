package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// forgetting is a Kafka that forgets a producer which is silent for three seconds, and a rest between two lives that is longer than that.
var forgetting = map[string]string{"producer.id.expiration.ms": "3000", "producer.id.expiration.check.interval.ms": "500"}

const oblivion = 4 * time.Second

// kafkaCrashes are the points at which the sink could send twice or never.
var kafkaCrashes = map[point]crash{
	afterSync:    {after: 100},
	afterSend:    {after: 200, pace: torrent}, // else there are seldom two under way
	beforeAnswer: {after: 300},
	beforeCursor: {after: 3},
}

func newKafkaMortal(t *testing.T, k *topic, rate float64, rest time.Duration) *mortal {
	t.Helper()
	m := prepareMortal(t, setup{flood: rate, topic: k}, rest)
	m.life.Brokers, m.life.Topic = k.cluster.Brokers(), k.name
	return m
}

// TestKafkaCrash: the bridge dies by SIGKILL before it sends, when it has sent, when the broker has stored, and before it takes note of that; also for longer
// than the broker remembers who it was. Nothing accepted is lost, nothing is stored twice, the order holds. Without the tail check, something is stored twice.
func TestKafkaCrash(t *testing.T) {
	t.Run("remembered", func(t *testing.T) {
		verify(t)
		testKafkaCrash(t, nil, rest)
	})
	t.Run("forgotten", func(t *testing.T) { testKafkaCrash(t, forgetting, oblivion) })
}

func testKafkaCrash(t *testing.T, set map[string]string, rest time.Duration) {
	c := testkafka.Start(t, testkafka.Options{Set: set})
	n := 0
	for p, how := range kafkaCrashes {
		n++
		k := newTopic(t, c, fmt.Sprintf("crash-%d", n))
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			pace := max(how.pace, rate)
			m := newKafkaMortal(t, k, pace, rest)
			for range thorough(6, 1) {
				m.dies(t, p, how.after+rand.Int64N(how.after+1))
			}
			m.lives(t)
			m.delivered(t)
		})
	}
	k := newTopic(t, c, "control")
	t.Run("control: no tail check", func(t *testing.T) {
		t.Parallel()
		m := newKafkaMortal(t, k, rate, rest)
		m.life.Without = tailCheck
		if v := m.verdict(t, beforeCursor, 4); v.Duplicates == 0 {
			t.Error("nothing is stored twice without it")
		}
	})
}

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// topic is one of a real Kafka, with what was read of it.
type topic struct {
	cluster *testkafka.Cluster
	name    string
	brokers []string // as the bridge is told; nil: those of the cluster
	access  string   // further members of the configuration's section
	next    []int64  // offset by partition
	landed  []ledger.Landed

	// read is another's way to read all that the topic holds; nil: kafka-go reads on where it was.
	read func(t testing.TB, topic string) []testkafka.Record
}

const partitions = 6

func newTopic(t *testing.T, c *testkafka.Cluster, name string) *topic {
	t.Helper()
	c.CreateTopic(t, name, partitions, nil)
	return &topic{cluster: c, name: name}
}

// sink is its section of the configuration. A broker that does not answer is noticed earlier than by default.
func (k *topic) sink() string {
	brokers := k.brokers
	if brokers == nil {
		brokers = k.cluster.Brokers()
	}
	return fmt.Sprintf(`kafka: {brokers: ["%s"], topic: %s, request_timeout: 1s%s}`, strings.Join(brokers, `", "`), k.name, k.access)
}

func (k *topic) stored(t *testing.T) []ledger.Landed {
	t.Helper()
	if k.next == nil {
		k.next = make([]int64, partitions)
	}
	var records []testkafka.Record
	if k.read != nil {
		records, k.landed = k.read(t, k.name), nil
	} else {
		records = k.cluster.Read(t, k.name, k.next)
	}
	for _, r := range records {
		e, _, err := event.ParseStructured(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Key) != e.PartitionKey {
			t.Fatalf("%s has the record key %q, want %q", e.ID, r.Key, e.PartitionKey)
		}
		k.next[r.Partition] = r.Offset + 1
		k.landed = append(k.landed, ledger.Landed{Event: e, Stored: r.Time, Sequence: uint64(r.Offset)})
	}
	return k.landed
}

// thorough is the number where make verify runs, else a smaller one that does for make kafka.
func thorough[N int | time.Duration](number, smaller N) N {
	if *verifying {
		return number
	}
	return smaller
}

// TestKafka: a broker that is killed and paused under flood. Everything lands once and in order, and no session notices. Others read it as it is.
func TestKafka(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{})
	t.Run("killed every few seconds", func(t *testing.T) { testKafkaKilled(t, c) })
	t.Run("paused", func(t *testing.T) { testKafkaPaused(t, c) })
	for name, read := range map[string]func(testing.TB, string) []testkafka.Record{"kcat": c.Kcat, "console consumer": c.ConsoleConsumer} {
		t.Run("read by "+name, func(t *testing.T) {
			t.Parallel()
			k := newTopic(t, c, strings.ReplaceAll(name, " ", "-"))
			k.read = read
			r := newRig(t, setup{flood: rate, topic: k})
			r.grow(t, 3*rate)
			r.settle(t, scenario{})
		})
	}
}

// freeze is how long a paused broker stands still where there is time: longer than any time-out of its cluster.
const freeze = 15 * time.Second

func testKafkaKilled(t *testing.T, c *testkafka.Cluster) {
	r := newRig(t, setup{flood: torrent, topic: newTopic(t, c, "killed")})
	for range thorough(10, 2) {
		r.grow(t, 2*torrent)
		c.Kill(t, 1)
		r.grow(t, torrent)
		c.Start(t, 1)
	}
	r.grow(t, torrent)
	r.settle(t, scenario{})
}

func testKafkaPaused(t *testing.T, c *testkafka.Cluster) {
	r := newRig(t, setup{flood: torrent, topic: newTopic(t, c, "paused")})
	for range thorough(3, 1) {
		r.grow(t, torrent)
		c.Pause(t, 1)
		<-time.After(thorough(freeze, 4*time.Second))
		c.Continue(t, 1)
		r.grow(t, torrent)
	}
	r.settle(t, scenario{})
}

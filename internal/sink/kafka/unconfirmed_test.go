package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// realUnconfirmed: a dead process's batch is on the leader and not on enough other replicas, so nobody may read it yet. The next process waits until it is
// confirmed, and does not send it again.
func realUnconfirmed(t *testing.T, c *testkafka.Cluster) {
	for _, tt := range []struct {
		name     string
		settings map[string]string
		paused   int // of the two followers
	}{
		{"one replica too few", map[string]string{"min.insync.replicas": "3"}, 1},
		{"no follower and no controller", nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topic := fmt.Sprintf("unconfirmed-%d", tt.paused)
			c.CreateTopic(t, topic, 1, tt.settings)
			cfg, all := realConfig(c, "PLAINTEXT", topic), records("WT1", 1, 4)
			cfg.RequestTimeout = config.Duration(2 * time.Second)
			s, _ := opened(t, cfg)
			b, answers := batch(s, all[:1])
			if err := deliver(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			mark, leader := s.Mark(nil), c.Leaders(t, topic)[0]
			followers := slices.DeleteFunc([]int{1, 2, 3}, func(node int) bool { return node == leader })[:tt.paused]
			for _, node := range followers {
				c.Pause(t, node)
			}
			b, answers = batch(s, all[1:3])
			if err := send(t, s, b, answers); retry.ReasonOf(err) != "replicas" {
				t.Fatalf("got %v, want it not to be confirmed", err)
			}
			closeNow(t, s)

			var (
				next   *Sink
				landed map[string]bool
			)
			ask := func() error {
				landed = map[string]bool{}
				return next.Landed(t.Context(), mark, func(id string) { landed[id] = true })
			}
			if tt.paused == 1 { // without controllers no sink opens
				next, _ = opened(t, cfg)
				if err := ask(); retry.ReasonOf(err) != "replicas" || retry.ReasonOf(next.Ready()) != "replicas" {
					t.Errorf("got %v, want it to wait for replicas", err)
				}
			}
			for _, node := range followers {
				c.Continue(t, node)
			}
			if next == nil {
				next, _ = opened(t, cfg)
			}
			sinktest.Eventually(t, ask)
			missing := slices.DeleteFunc(slices.Clone(all[1:]), func(r spool.Record) bool { return landed[r.Header.ID] })
			b, answers = batch(next, missing)
			sinktest.Eventually(t, func() error { return send(t, next, b, answers) })
			if diff := cmp.Diff(idsOf(all), realIDs(t, c, topic)); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

// realStale: a leader that stood still while another one was elected, and is the only broker that the sink was told of. For some 100 ms it takes itself for the
// leader; what the other one has is found, and is no loss.
func realStale(t *testing.T, c *testkafka.Cluster) {
	for round := range 4 {
		topic := fmt.Sprintf("stale-%d", round)
		c.CreateTopic(t, topic, 1, nil)
		leader, all := c.Leaders(t, topic)[0], records("WT1", 1, 6)
		s, _ := opened(t, realConfig(c, "PLAINTEXT", topic))
		b, answers := batch(s, all[:3])
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		cfg := realConfig(c, "PLAINTEXT", topic)
		cfg.Brokers = c.Brokers()[leader-1 : leader]
		next, _ := opened(t, cfg)
		next.doubtFor = doubtFor
		mark, want := s.Mark(nil), idsOf(all[3:])
		sinktest.Eventually(t, func() error { // the node of the round before may have to catch up; without it the new leader would be alone
			client := fresh(s.client)
			defer client.Transport.(*kafkago.Transport).CloseIdleConnections()
			answer, err := client.Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{topic}})
			if err != nil {
				return err
			}
			if n := len(answer.Topics[0].Partitions[0].Isr); n < 3 {
				return fmt.Errorf("%d replicas are in sync", n)
			}
			return nil
		})
		closeNow(t, s)
		c.Pause(t, leader)
		another, _ := opened(t, realConfig(c, "PLAINTEXT", topic)) // nothing of its batch waits in the paused broker's queue
		b, answers = batch(another, all[3:])
		sinktest.Eventually(t, func() error { return send(t, another, b, answers) })
		if round%2 == 1 {
			mark, want = another.Mark(nil), nil
		}
		closeNow(t, another)
		var found []string
		ended, begun := make(chan error, 1), make(chan struct{})
		go func() {
			close(begun)
			ended <- next.Landed(t.Context(), mark, func(id string) { found = append(found, id) })
		}()
		<-begun
		c.Continue(t, leader)
		err := <-ended
		if err != nil || !slices.Equal(found, want) {
			t.Errorf("round %d: got %v (%v), want %v", round, found, err, want)
		}
	}
}

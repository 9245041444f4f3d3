package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// TestRefresh: who leads is found out with the connections that there are. When nobody says, all are given up, also those that seem to be well: they may lead to
// brokers that are gone, or stand still.
func TestRefresh(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "facts"))
	s, w := opened(t, testConfig(c))
	all := records("WT1", 1, 3)
	b, answers := batch(s, all[:1])
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	before := w.open()
	left := func() (n int) {
		for conn := range w.open() {
			if before[conn] {
				n++
			}
		}
		return n
	}
	refresh := &refresher{transport: s.transport, timeout: time.Duration(s.cfg.RequestTimeout)}
	refresh.refresh(t.Context(), s.client.Addr, time.Now())
	if n := left(); n != len(before) || n < 2 || refresh.began.IsZero() {
		t.Errorf("brokers answer: %d of %d connections are left, want all", n, len(before))
	}
	b, answers = batch(s, all[1:2])
	if err := send(t, s, b, answers); err != nil {
		t.Error(err)
	}
	w.answers.Hold(true)
	began := refresh.began
	refresh.timeout = 50 * time.Millisecond
	refresh.refresh(t.Context(), s.client.Addr, time.Now())
	w.answers.Hold(false)
	sinktest.Eventually(t, func() error {
		if n := left(); n > 0 {
			return fmt.Errorf("no broker answers: %d of %d connections are left", n, len(before))
		}
		return nil
	})
	if refresh.began != began {
		t.Error("what failed counts as done")
	}
	b, answers = batch(s, all[2:])
	if err := deliver(t, s, b, answers); err != nil {
		t.Error(err)
	}
}

package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// testTopic is a topic of one partition, of a fake cluster or of a real one.
type testTopic struct {
	cfg    Config
	stored func() []string // ids in order
}

func fakeTopic(t *testing.T) testTopic {
	t.Helper()
	c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "facts"))
	return testTopic{testConfig(c), func() []string {
		ids, err := storedIDs(t.Context(), c.client, "facts")
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}}
}

// realTopic has the test's name, and so is the only one of the test.
func realTopic(t *testing.T, c *testkafka.Cluster) testTopic {
	t.Helper()
	topic := strings.Map(func(r rune) rune {
		if strings.ContainsRune("/:'", r) {
			return '.'
		}
		return r
	}, t.Name())
	c.CreateTopic(t, topic, 1, nil)
	return testTopic{realConfig(c, "PLAINTEXT", topic), func() []string { return realIDs(t, c, topic) }}
}

func (tt testTopic) want(t *testing.T, ids []string) {
	t.Helper()
	if diff := cmp.Diff(ids, tt.stored()); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// loseAnswer has b stored and its answer lost.
func (tt testTopic) loseAnswer(t *testing.T, s *Sink, w *way, b *sink.Batch, answers chan error) {
	t.Helper()
	before := tt.stored()
	w.answers.Hold(true)
	b.Out()
	s.Send(b)
	sinktest.Eventually(t, func() error {
		if len(tt.stored()) == len(before) {
			return errors.New("not stored")
		}
		return nil
	})
	w.cut()
	w.answers.Hold(false)
	if err := sinktest.Answer(t, answers); err == nil {
		t.Fatal("got success for a lost answer")
	}
}

// TestLostAnswer and its controls: the same bytes are recognised; without a producer id, or cut anew, they are not. TestRealBroker has the same on a real one.
func TestLostAnswer(t *testing.T) { lostAnswers(t, fakeTopic) }

func lostAnswers(t *testing.T, in func(*testing.T) testTopic) {
	all := records("WT1", 1, 6)
	// second sends two batches, of which the answer to the second is lost.
	second := func(t *testing.T, by *producer) (testTopic, *Sink, *sink.Batch, chan error) {
		tt := in(t)
		s, w := opened(t, tt.cfg)
		if by != nil {
			s.by = *by
		}
		b, answers := batch(s, all[:1]) // so that there is a connection
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		b, answers = batch(s, all[1:4])
		tt.loseAnswer(t, s, w, b, answers)
		return tt, s, b, answers
	}
	t.Run("same bytes", func(t *testing.T) {
		tt, s, b, answers := second(t, nil)
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("repeat: %v", err)
		}
		b, answers = batch(s, all[4:])
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("next: %v", err)
		}
		tt.want(t, idsOf(all))
	})
	t.Run("control: no producer id", func(t *testing.T) {
		tt, s, b, answers := second(t, &producer{-1, -1})
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("repeat: %v", err)
		}
		tt.want(t, slices.Concat(idsOf(all[:4]), idsOf(all[1:4])))
	})
	t.Run("control: another batch in its place", func(t *testing.T) {
		tt, s, _, _ := second(t, nil)
		b, answers := batch(s, all[2:5]) // as many, but others: the broker takes them for the first
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("other batch: %v", err)
		}
		tt.want(t, idsOf(all[:4]))
	})
	t.Run("control: a longer batch in its place", func(t *testing.T) {
		tt, s, _, _ := second(t, nil)
		b, answers := batch(s, all[1:6])
		if err := deliver(t, s, b, answers); !errors.Is(err, sink.ErrUnsure) {
			t.Errorf("got %v, want ErrUnsure", err)
		}
		tt.want(t, idsOf(all[:4]))
	})
}

// TestTroubleEnds: what stood in the way of a batch is over when the batch is found stored, also when nothing is left to be sent.
func TestTroubleEnds(t *testing.T) {
	tt := fakeTopic(t)
	s, w := opened(t, tt.cfg)
	all := records("WT1", 1, 3)
	b, answers := batch(s, all[:1])
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	b, answers = batch(s, all[1:])
	tt.loseAnswer(t, s, w, b, answers)
	troubles := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.troubles)
	}
	if troubles() != 1 {
		t.Fatalf("got %d troubles after a lost answer, want 1", troubles())
	}
	var found []string
	if err := s.Landed(t.Context(), s.Mark([]*sink.Batch{b}), func(id string) { found = append(found, id) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(idsOf(all[1:]), found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if troubles() != 0 {
		t.Error("the trouble goes on")
	}
}

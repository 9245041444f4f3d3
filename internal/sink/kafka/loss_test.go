package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// asked asks what landed after the mark.
func asked(t *testing.T, s *Sink, mark []byte) (ids []string, err error) {
	t.Helper()
	err = s.Landed(t.Context(), mark, func(id string) { ids = append(ids, id) })
	slices.Sort(ids)
	return ids, err
}

// TestOneTopicLost: a topic that was re-created, or is gone, takes nothing from what is found in the others, and what is in it is found too.
func TestOneTopicLost(t *testing.T) {
	for _, recreated := range []bool{true, false} {
		t.Run(fmt.Sprintf("recreated %t", recreated), func(t *testing.T) {
			const healthy, lost = "facts.twilio.AC1", "facts.twilio.AC2"
			c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(1, healthy, lost))
			cfg := testConfig(c)
			cfg.Topic = "facts.{provider}.{account}"
			start := func() *Sink {
				s := makeSink(t, cfg, zapNop, Origin{"twilio", "AC1"}, Origin{"twilio", "AC2"})
				sinktest.Connect(t, s)
				sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
				return s
			}
			put := func(s *Sink, key, account string, first, n int) []string {
				all := records(key, first, n)
				for i := range all {
					all[i].Header.Account = account
				}
				b, answers := batch(s, all)
				if err := deliver(t, s, b, answers); err != nil {
					t.Fatal(err)
				}
				return idsOf(all)
			}
			s := start()
			put(s, "WT1", "AC1", 1, 2)
			put(s, "WT2", "AC2", 1, 5)
			mark := s.Mark(nil)
			want := put(s, "WT1", "AC1", 3, 2)
			put(s, "WT2", "AC2", 6, 2)
			if err := c.DeleteTopic(lost); err != nil {
				t.Fatal(err)
			}
			if recreated {
				if err := c.CreateTopic(lost, 1, nil); err != nil {
					t.Fatal(err)
				}
				s = start()
				want = append(want, put(s, "WT2", "AC2", 8, 1)...)
			}
			got, err := asked(t, s, mark)
			if !errors.Is(err, sink.ErrBrokerLost) || !strings.Contains(err.Error(), lost) || strings.Contains(err.Error(), healthy) {
				t.Errorf("got %v, want a loss of %s", err, lost)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("found beside the loss (-want +got):\n%s", diff)
			}
			if !recreated {
				return
			}
			got, err = asked(t, s, s.Mark(nil))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("with the mark after the loss: %v, found (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestEndBeforeMark: brokers without topic ids show a loss only by where a partition ends.
func TestEndBeforeMark(t *testing.T) {
	c, s, _ := one(t, kfake.MaxVersions(kversion.V2_8_0()))
	all := records("WT1", 1, 6)
	b, answers := batch(s, all[:4])
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	mark := s.Mark(nil)
	if err := errors.Join(c.DeleteTopic("facts"), c.CreateTopic("facts", 1, nil)); err != nil {
		t.Fatal(err)
	}
	next, _ := opened(t, testConfig(c))
	b, answers = batch(next, all[4:5])
	if err := deliver(t, next, b, answers); err != nil {
		t.Fatal(err)
	}
	if _, err := asked(t, next, mark); !errors.Is(err, sink.ErrBrokerLost) || !strings.Contains(fmt.Sprint(err), "partition 0 of topic facts ends at 1, before 4") {
		t.Errorf("got %v, want ErrBrokerLost", err)
	}
	mark = next.Mark(nil)
	b, answers = batch(next, all[5:])
	if err := deliver(t, next, b, answers); err != nil {
		t.Fatal(err)
	}
	if got, err := asked(t, next, mark); err != nil || !slices.Equal(got, idsOf(all[5:])) {
		t.Errorf("with the mark after the loss: got %v (%v), want %v", got, err, idsOf(all[5:]))
	}
}

// TestLossIsDoubted: what a broker that is behind says for a moment is no loss.
func TestLossIsDoubted(t *testing.T) {
	for name, behind := range map[string]func(c *cluster, times int){
		"no topic": func(c *cluster, times int) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "facts", Err: kerr.UnknownTopicOrPartition, Count: 4 * times}) // each broker is asked, and one twice
		},
		"end before the mark": func(c *cluster, times int) {
			answerOffsets(c, func(r *kmsg.ListOffsetsRequest) (int64, bool) {
				if r.Topics[0].Partitions[0].Timestamp != atAll.time || times == 0 {
					return 0, false
				}
				times--
				return 1, true
			})
		},
		"end before the mark, said late": func(c *cluster, _ int) {
			said := false
			answerOffsets(c, func(r *kmsg.ListOffsetsRequest) (int64, bool) {
				if r.Topics[0].Partitions[0].Timestamp != atAll.time || r.ReplicaID != atAll.replica || said {
					return 0, false
				}
				said = true
				<-time.After(1200 * time.Millisecond) // longer than a loss is doubted
				return 1, true
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s, _ := one(t)
			all := records("WT1", 1, 4)
			b, answers := batch(s, all[:2])
			if err := deliver(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			mark := s.Mark(nil)
			b, answers = batch(s, all[2:])
			if err := deliver(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			s.doubtFor = time.Second // five questions
			behind(c, 2)
			if got, err := asked(t, s, mark); err != nil || !slices.Equal(got, idsOf(all[2:])) {
				t.Errorf("got %v (%v), want %v", got, err, idsOf(all[2:]))
			}
		})
	}
}

// answerOffsets answers requests for offsets of one partition where answer says so.
func answerOffsets(c *cluster, answer func(*kmsg.ListOffsetsRequest) (int64, bool)) {
	replaceOffsets(c, func(r *kmsg.ListOffsetsRequest, p *kmsg.ListOffsetsResponseTopicPartition) (ok bool) {
		p.Offset, ok = answer(r)
		return ok
	})
}

// replaceOffsets answers requests about one partition with what answer makes of an empty answer, where it returns true.
func replaceOffsets(c *cluster, answer func(*kmsg.ListOffsetsRequest, *kmsg.ListOffsetsResponseTopicPartition) bool) {
	c.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked, p := r.(*kmsg.ListOffsetsRequest), kmsg.NewListOffsetsResponseTopicPartition()
		p.Partition = asked.Topics[0].Partitions[0].Partition
		if !answer(asked, &p) {
			return nil, nil, false
		}
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic, topic.Partitions = asked.Topics[0].Topic, []kmsg.ListOffsetsResponseTopicPartition{p}
		out := asked.ResponseKind().(*kmsg.ListOffsetsResponse)
		out.Topics = []kmsg.ListOffsetsResponseTopic{topic}
		return out, nil, true
	})
}

// TestUnconfirmed: what the leader alone has is waited for; a tail that an election undoes is not, and is no loss. TestRealCluster has the same on a real one.
func TestUnconfirmed(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 3)
	begin := s.Mark(nil)
	b, answers := batch(s, all)
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	var looks atomic.Int32 // at the leader's log, until an election
	looks.Store(1 << 30)
	answerOffsets(c, func(r *kmsg.ListOffsetsRequest) (int64, bool) {
		if r.ReplicaID != atLeader.replica {
			return 0, false
		}
		if looks.Add(-1) >= 0 {
			return 5, true
		}
		return 3, true
	})
	_, err := asked(t, s, begin)
	if retry.ReasonOf(err) != "replicas" || !strings.Contains(err.Error(), "partition 0 of topic facts: what follows offset 3, up to 5, is not confirmed") {
		t.Errorf("got %v", err)
	}
	if ready := s.Ready(); retry.ReasonOf(ready) != "replicas" {
		t.Errorf("Ready: got %v", ready)
	}
	if err := s.Landed(t.Context(), begin, nil); err != nil {
		t.Errorf("asked only whether the log is there: got %v", err)
	}
	if at, err := decodeMark(s.Mark(nil)); err != nil || at["facts"].ends[0] != 3 {
		t.Errorf("mark: got %v (%v), want the confirmed end, 3", at, err)
	}
	looks.Store(2)
	if got, err := asked(t, s, begin); err != nil || !slices.Equal(got, idsOf(all)) {
		t.Errorf("after an election: got %v (%v), want %v", got, err, idsOf(all))
	}
	if err := s.Ready(); err != nil {
		t.Errorf("Ready: got %v", err)
	}
}

// TestNoDebugger: with brokers that do not tell where the leader's log ends, what is confirmed is read. TestOnePartitionWithoutLeader has what is not such a
// refusal.
func TestNoDebugger(t *testing.T) {
	c, s, _ := one(t)
	begin, all := s.Mark(nil), records("WT1", 1, 3)
	b, answers := batch(s, all)
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	refused := 0
	replaceOffsets(c, func(r *kmsg.ListOffsetsRequest, p *kmsg.ListOffsetsResponseTopicPartition) bool {
		if r.ReplicaID != atLeader.replica {
			return false
		}
		refused++
		p.ErrorCode = kerr.InvalidRequest.Code
		return true
	})
	if got, err := asked(t, s, begin); err != nil || !slices.Equal(got, idsOf(all)) || refused == 0 {
		t.Errorf("got %v (%v), want %v; refused %d times", got, err, idsOf(all), refused)
	}
}

// TestReadsOn: a fault while one partition is read does not begin with the first again.
func TestReadsOn(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(3, "facts"))
	s, _ := opened(t, testConfig(c))
	begin := s.Mark(nil)
	var want []string
	for i, lanes := 0, map[int]bool{}; len(lanes) < 3; i++ {
		all := records(fmt.Sprintf("WT%d", i), 1, 2)
		b, answers := batch(s, all)
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		lanes[b.Lane] = true
		want = append(want, idsOf(all)...)
	}
	slices.Sort(want)
	reads := func(partitions ...int32) *kfake.FaultHandle {
		return c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "facts", Partitions: partitions, Observe: true, Count: -1})
	}
	first := reads(0)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "facts", Partitions: []int32{1}, Err: kerr.OffsetNotAvailable, Count: 4})
	got, err := asked(t, s, begin)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, found (-want +got):\n%s", err, diff)
	}
	if n := first.Hits(); n != 1 {
		t.Errorf("the first partition was read %d times", n)
	}
	everything := reads()
	if err := s.Landed(t.Context(), begin, nil); err != nil || everything.Hits() > 0 {
		t.Errorf("asked only whether the log is there: got %v, read %d times", err, everything.Hits())
	}
}

// TestTooOldMeanwhile: what retention removes while it is to be read is left out.
func TestTooOldMeanwhile(t *testing.T) {
	c, s, _ := one(t)
	begin, all := s.Mark(nil), records("WT1", 1, 4)
	b, answers := batch(s, all)
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "facts", Err: kerr.OffsetOutOfRange})
	answerOffsets(c, func(r *kmsg.ListOffsetsRequest) (int64, bool) {
		return 3, fault.Hits() > 0 && r.Topics[0].Partitions[0].Timestamp == atFirst.time
	})
	if got, err := asked(t, s, begin); err != nil || !slices.Equal(got, idsOf(all[3:])) {
		t.Errorf("got %v (%v), want %v", got, err, idsOf(all[3:]))
	}
}

// TestOnePartitionWithoutLeader: one of several holds the sink back, and is named.
func TestOnePartitionWithoutLeader(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(3, "facts"))
	s, _ := opened(t, testConfig(c))
	mark := s.Mark(nil)
	for name, ask := range map[string]func() error{
		"open":   func() error { return s.Open(t.Context()) },
		"landed": func() error { return s.Landed(t.Context(), mark, func(string) {}) },
	} {
		fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "facts", Partitions: []int32{2}, Err: kerr.LeaderNotAvailable, Count: -1})
		for what, err := range map[string]error{name: ask(), "ready": s.Ready()} {
			if retry.ReasonOf(err) != "no_leader" || !strings.Contains(fmt.Sprint(err), "partition 2 of topic facts") {
				t.Errorf("%s: %s: got %v", name, what, err)
			}
		}
		fault.Remove()
		if err := errors.Join(ask(), s.Ready()); err != nil {
			t.Errorf("%s: with a leader: got %v", name, err)
		}
	}
}

// TestTogether: what brokers know of a topic.
func TestTogether(t *testing.T) {
	one, two := topicID{1}, topicID{2}
	topic := func(id topicID, partitions ...partitionInfo) topicInfo { return topicInfo{nil, id, partitions} }
	gone, denied := topicInfo{err: codeError(3)}, topicInfo{err: codeError(29)}
	for name, tt := range map[string]struct{ a, b, want topicInfo }{
		"later election":         {topic(one, partitionInfo{1, 4, 3}), topic(one, partitionInfo{2, 5, 3}), topic(one, partitionInfo{2, 5, 3})},
		"earlier election":       {topic(one, partitionInfo{1, 4, 3}), topic(one, partitionInfo{2, 3, 3}), topic(one, partitionInfo{1, 4, 3})},
		"more partitions":        {topic(one, partitionInfo{1, 4, 3}), topic(one, partitionInfo{1, 4, 3}, partitionInfo{3, 0, 3}), topic(one, partitionInfo{1, 4, 3}, partitionInfo{3, 0, 3})},
		"gone for the first":     {gone, topic(one), topic(one)},
		"gone for the second":    {topic(one), gone, topic(one)},
		"gone for one, not told": {gone, denied, denied},
		"the one before first":   {topic(one, partitionInfo{1, 4, 3}), topic(two), topic(one, partitionInfo{1, 4, 3})},
		"the one before second":  {topic(two), topic(one), topic(one)},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.a.with(tt.b, one), cmp.AllowUnexported(topicInfo{}, partitionInfo{}), cmp.Comparer(errors.Is)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

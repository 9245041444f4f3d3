package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// doubtFor is how long a loss must be told before it is believed. A broker that stood still, or is cut off from the others, may not know of a topic that is there,
// and takes itself for the leader of what has gone on elsewhere: for some 300 ms after SIGCONT, with the metadata of that broker alone.
const doubtFor = 5 * time.Second

// tail is what lies between a mark and the end of the log.
type tail struct {
	stretches []*stretch
	renewed   map[string]topicID // topics that are not those of the mark
	lost      error              // wraps sink.ErrBrokerLost
}

// stretch is what is to be read of a partition: from next to before end.
type stretch struct {
	topic     string
	id        int
	next, end int64
	begin     int64 // next at first
	confirmed int64 // how far the brokers let anybody read: behind it is what may still be undone
}

func (p *stretch) String() string { return partitionName(p.topic, p.id) }

// Landed implements sink.Sink: every partition is read from the mark to the end of its leader's log, all of which must have a leader. Then a new epoch begins.
func (s *Sink) Landed(ctx context.Context, mark []byte, found func(id string)) error {
	t, err := s.landed(ctx, mark, found)
	if err == nil {
		err = s.restart(ctx)
	}
	s.setFault(err)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.lost = nil      // reported with this, so not by the next Send too
	clear(s.troubles) // those of batches that have landed end here; what is sent again tells of the others
	s.mu.Unlock()
	s.settle(t)
	return t.lost
}

func (s *Sink) landed(ctx context.Context, encoded []byte, found func(id string)) (*tail, error) {
	t := &tail{}
	if encoded == nil {
		return t, nil
	}
	from, err := decodeMark(encoded)
	if err != nil {
		return nil, err
	}
	ends := map[string]int64{}
	survey := func(ctx context.Context) (err error) {
		t, err = s.survey(ctx, from)
		if err == nil && found != nil {
			err = t.wait(ends)
		}
		return err
	}
	for doubted := (time.Time{}); ; {
		if err := patiently(ctx, survey); err != nil {
			return nil, err
		}
		if t.lost == nil || !doubted.IsZero() && time.Since(doubted) > s.doubtFor {
			break
		}
		if doubted.IsZero() {
			doubted = time.Now()
		}
		if !sleep(ctx, s.doubtFor/5) {
			return nil, ctx.Err()
		}
		s.refresher.reset(time.Now()) // another broker may be asked,
		clear(ends)                   // and know of more
	}
	if found == nil {
		return t, nil
	}
	s.setFault(nil) // it reads, which may take long: see Ready
	return t, s.read(ctx, t.stretches, found)
}

// survey compares what there is with the mark.
func (s *Sink) survey(ctx context.Context, from mark) (*tail, error) {
	topics, err := s.everywhere(ctx, from)
	if err != nil {
		return nil, classify(err).tell("look up topics", toDescribe.on(s.names[0]), err)
	}
	t, there := &tail{renewed: map[string]topicID{}}, map[string]topicInfo{}
	lose := func(format string, args ...any) {
		t.lost = errors.Join(t.lost, fmt.Errorf(format+": %w", append(args, sink.ErrBrokerLost)...))
	}
	for _, name := range s.names {
		topic, before := topics[name], from[name]
		switch {
		case errors.Is(topic.err, kafkago.UnknownTopicOrPartition):
			lose("topic %s is gone", name)
			continue
		case topic.err != nil:
			return nil, classify(topic.err).tell("look up topic "+name, toDescribe.on(name), topic.err)
		case before.ends != nil && (topic.id.another(before.id) || len(before.ends) > len(topic.partitions)):
			lose("topic %s was re-created", name)
			t.renewed[name] = topic.id
		}
		there[name] = topic
	}
	s.refresher.refresh(ctx, s.client.Addr, time.Now())
	// In this order: a broker that leads only since the first answer tells a confirmed end that is not before what it had then (KIP-207).
	written, err := s.offsets(ctx, atLeader, there)
	unknown := isRefusal(err)
	if err != nil && !unknown {
		return nil, err
	}
	confirmed, err := s.offsets(ctx, atAll, there)
	if err != nil {
		return nil, err
	}
	if unknown {
		s.log.Info("the brokers do not tell where their logs end, only what is confirmed: what a dead process has sent may still become so, and be stored twice")
		written = confirmed
	}
	firsts, err := s.offsets(ctx, atFirst, there)
	if err != nil {
		return nil, err
	}
	for _, name := range s.names {
		before, sent := from[name]
		_, renewed := t.renewed[name]
		for id := range there[name].partitions {
			p := &stretch{topic: name, id: id, next: firsts[name][id], confirmed: confirmed[name][id]}
			p.end = max(written[name][id], p.confirmed)
			switch {
			case !sent: // the topic is new here: nothing was sent to it
				p.next, p.end = p.confirmed, p.confirmed
			case renewed || id >= len(before.ends):
			case before.ends[id] > p.confirmed:
				lose("%v ends at %d, before %d", p, p.confirmed, before.ends[id])
				p.next, p.end = p.confirmed, p.confirmed
			default:
				p.next = max(p.next, before.ends[id])
			}
			p.begin = p.next
			t.stretches = append(t.stretches, p)
		}
	}
	return t, nil
}

// wait says which partition has a record that its leader has and too few others, so that nobody may read it: it may be one of ours. ends are those of the first
// look, by partition; what others have written since need not be waited for.
func (t *tail) wait(ends map[string]int64) error {
	var err error
	for _, p := range t.stretches {
		name := p.String()
		end, seen := ends[name]
		if !seen || p.end < end { // an election has undone the rest
			end = p.end
		}
		ends[name], p.end = end, max(end, p.confirmed)
		if p.confirmed < end && err == nil {
			c, replicas := codes[kafkago.NotEnoughReplicasAfterAppend], kafkago.NotEnoughReplicasAfterAppend
			err = c.tell("read "+name, toRead.on(p.topic),
				fmt.Errorf("what follows offset %d, up to %d, is not confirmed by enough replicas yet, and may be what an earlier process has sent: %w", p.confirmed, end, replicas))
		}
	}
	return err
}

// settle takes note of where the partitions end. After a loss [Sink.Mark] is from where the same is to be asked again; and a topic that is another one than
// was opened is to be opened.
func (s *Sink) settle(t *tail) {
	for _, lane := range s.lanes {
		for _, p := range t.stretches {
			switch {
			case p.topic != lane.topic || p.id != lane.id:
			case t.lost != nil:
				lane.end.Store(p.begin)
			default:
				lane.end.Store(max(lane.end.Load(), p.confirmed))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, id := range t.renewed {
		if s.seen[name] == id && id != (topicID{}) {
			continue
		}
		s.seen[name] = id
		if !s.told {
			s.moved = fmt.Errorf("topic %s was re-created: %w", name, sink.ErrLanes)
		}
	}
}

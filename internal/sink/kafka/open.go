package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
)

const (
	// lookEvery is how often the topics are looked at, on average: partitions may be added at any time.
	lookEvery = 10 * time.Second
	// remembered is how long brokers know a producer that writes nothing, unless they say otherwise (producer.id.expiration.ms).
	remembered = 24 * time.Hour
)

// Open implements sink.Sink: the topics are there and verified, all partitions have a leader, their ends are known, and the sink has a producer id.
func (s *Sink) Open(ctx context.Context) error {
	err := patiently(ctx, s.open)
	s.setFault(err)
	return err
}

// patiently does what brokers may fail for a moment, as they do when a topic is new, a leader moves or one of them has just started. Neither is worth a line of
// the log before it has lasted.
func patiently(ctx context.Context, do func(context.Context) error) error {
	begin, wait := time.Now(), retryLeader
	for {
		err := do(ctx)
		if err == nil || !classify(err).momentary() || time.Since(begin) > passing || !sleep(ctx, wait) {
			return err
		}
		wait = min(2*wait, retryLeaderMost)
	}
}

func (s *Sink) open(ctx context.Context) error {
	found, err := s.ensure(ctx)
	if err != nil {
		return err
	}
	s.refresher.refresh(ctx, s.client.Addr, time.Now()) // the library may know none of them yet
	ends, err := s.offsets(ctx, atAll, found)
	if err != nil {
		return err
	}
	for _, name := range s.names {
		if err := s.mayRead(ctx, name, ends[name][0]); err != nil {
			return err
		}
	}
	if err := s.restart(ctx); err != nil { // a partition that was not known begins with sequence 0
		return err
	}
	s.remembered = s.expiration(ctx, found)
	s.take(found, ends)
	return nil
}

// take makes the lanes of what was found. A partition that was there before goes on where it was.
func (s *Sink) take(found map[string]topicInfo, ends map[string][]int64) {
	before := s.lanes
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.troubles)
	s.lanes, s.routes = nil, map[string]route{}
	for _, name := range s.names {
		t := found[name]
		s.routes[name] = route{len(s.lanes), len(t.partitions)}
		seen, known := s.seen[name]
		same := known && !t.id.another(seen)
		for id := range t.partitions {
			p := &partition{topic: name, id: id}
			for _, old := range before {
				if same && old.topic == name && old.id == id {
					p = old
				}
			}
			p.end.Store(max(p.end.Load(), ends[name][id]))
			s.lanes = append(s.lanes, p)
		}
		if t.id != (topicID{}) {
			seen = t.id
		}
		s.seen[name], s.counts[name] = seen, len(t.partitions)
	}
	s.metrics.partitions.Set(float64(len(s.lanes)))
	s.log.Info("Kafka topics are ready", zap.Strings("topics", s.names), zap.Int("partitions", len(s.lanes)), zap.Duration("producers_remembered", s.remembered))
	if strings.Contains(s.cfg.Topic, "{") {
		s.lanes = append(s.lanes, &partition{topic: nowhere})
	}
	s.moved, s.told = nil, false
	s.metrics.connected.Set(1)
}

// mayRead reads a topic where nothing is to come yet: Landed has something to read only after a crash or an outage, which is late to learn that the right is
// missing. Rights are the topic's, so one partition says it for all.
func (s *Sink) mayRead(ctx context.Context, topic string, end int64) error {
	answer, err := s.client.Fetch(ctx, &kafkago.FetchRequest{Topic: topic, Offset: end, MaxBytes: 1, MaxWait: time.Millisecond})
	if err == nil {
		err = answer.Error
	}
	if err == nil || errors.Is(err, kafkago.OffsetOutOfRange) { // cut since: it may be read
		return nil
	}
	return classify(err).tell("read partition 0 of topic "+topic, toRead.on(topic), err)
}

// expiration is how long the brokers remember a producer that writes nothing. To be told, the user needs DescribeConfigs on the cluster; without it the
// default counts.
func (s *Sink) expiration(ctx context.Context, found map[string]topicInfo) time.Duration {
	const setting = "producer.id.expiration.ms"
	broker := strconv.Itoa(int(found[s.names[0]].partitions[0].leader))
	answer, err := s.client.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{Resources: []kafkago.DescribeConfigRequestResource{
		{ResourceType: kafkago.ResourceTypeBroker, ResourceName: broker, ConfigNames: []string{setting}},
	}})
	if err != nil {
		return remembered
	}
	for _, r := range answer.Resources {
		for _, e := range r.ConfigEntries {
			if ms, err := strconv.ParseInt(e.ConfigValue, 10, 64); err == nil && e.ConfigName == setting {
				return min(time.Duration(ms)*time.Millisecond, remembered)
			}
		}
	}
	return remembered
}

// watch looks at the topics from time to time, until ctx ends.
func (s *Sink) watch(ctx context.Context) {
	again := time.NewTimer(s.lookEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.look:
		case <-again.C:
		}
		answer, err := s.describe(ctx)
		if ctx.Err() != nil {
			return
		}
		s.compare(answer, err)
		again.Reset(s.lookEvery/2 + time.Duration(retry.Jitter()*float64(s.lookEvery)))
	}
}

// compare notes what has changed since the sink was opened. A look that only failed changes nothing: what becomes of the batches says more.
func (s *Sink) compare(answer *topicsResponse, err error) {
	if err != nil {
		s.metrics.connected.Set(0)
		return
	}
	s.metrics.connected.Set(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names {
		t, opened := answer.topics[name], s.counts[name]
		if opened == 0 || s.told {
			continue // not opened yet, or to be opened again
		}
		seen, known := s.seen[name]
		switch {
		case errors.Is(t.err, kafkago.UnknownTopicOrPartition):
			s.moved = fmt.Errorf("topic %s is gone: %w", name, sink.ErrLanes)
		case t.err != nil:
		case !known, t.id.another(seen): // whether what was confirmed is lost, Landed finds out
			s.moved = fmt.Errorf("topic %s may be another one: %w", name, sink.ErrLanes)
		case len(t.partitions) != opened:
			s.moved = fmt.Errorf("topic %s has %d partitions now, it had %d: %w", name, len(t.partitions), opened, sink.ErrLanes)
		}
	}
}

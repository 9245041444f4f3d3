package kafka

import (
	"context"
	"errors"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// straggling is how much longer than the first broker the others may take to say what they know.
const straggling = 2 * time.Second

// everywhere is what the brokers together know of the topics. Each is asked, because one that was cut off, or stood still, knows nothing of an election since, and
// would name itself as a leader: what that one holds may lack what was confirmed. One that does not answer in time is left out.
func (s *Sink) everywhere(ctx context.Context, from mark) (map[string]topicInfo, error) {
	first, err := s.askTopics(ctx, time.Duration(s.cfg.RequestTimeout), s.transport, s.client.Addr, s.names)
	if err != nil {
		return nil, err
	}
	if len(first.brokers) < 2 {
		return first.topics, nil
	}
	own := &kafkago.Transport{Dial: s.transport.Dial, DialTimeout: s.transport.DialTimeout, ClientID: s.transport.ClientID, SASL: s.transport.SASL, MetadataTopics: s.names}
	defer own.CloseIdleConnections()
	answers := make(chan *topicsResponse, len(first.brokers))
	for _, address := range first.brokers {
		go func() {
			answer, err := s.askTopics(ctx, straggling, own, kafkago.TCP(address), s.names)
			if err != nil {
				answer = &topicsResponse{}
			}
			answers <- answer
		}()
	}
	for range first.brokers {
		for name, t := range (<-answers).topics {
			first.topics[name] = first.topics[name].with(t, from[name].id)
		}
	}
	return first.topics, nil
}

// with is what two brokers know of a topic. Where they do not agree, what is newer counts; whether it is there, and whether it is the one that was there before, is
// doubted only when nobody knows better.
func (t topicInfo) with(u topicInfo, before topicID) topicInfo {
	switch {
	case u.err != nil:
		if errors.Is(t.err, kafkago.UnknownTopicOrPartition) {
			return u
		}
		return t
	case t.err != nil, u.id.another(t.id) && u.id == before:
		return u
	case u.id.another(t.id):
		return t
	}
	partitions := make([]partitionInfo, max(len(t.partitions), len(u.partitions)))
	copy(partitions, t.partitions)
	for id, p := range u.partitions {
		if id >= len(t.partitions) || p.epoch > t.partitions[id].epoch {
			partitions[id] = p
		}
	}
	t.partitions = partitions
	return t
}

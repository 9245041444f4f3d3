package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// offset is one of a partition's that brokers are asked for.
type offset struct {
	time    int64
	replica int32 // who asks
}

const (
	consumer = -1
	// debugger is a consumer for whom brokers do not hold back what is not confirmed (Kafka protocol, "ListOffsets API": "the broker ID of the requester, or -1 if this
	// request is being made by a normal consumer"; ReplicaID -2 is that of Kafka's own tools for debugging). A broker that does not lead may answer it, too.
	debugger = -2
)

var (
	atFirst  = offset{kafkago.FirstOffset, consumer} // of the first record
	atAll    = offset{kafkago.LastOffset, consumer}  // behind the last record that enough replicas have: the high watermark
	atLeader = offset{kafkago.LastOffset, debugger}  // behind the last record of the leader's log
)

// isRefusal reports whether a broker does not answer debuggers, as those of another make may not.
func isRefusal(err error) bool {
	return errors.Is(err, kafkago.UnsupportedVersion) || errors.Is(err, kafkago.InvalidRequest)
}

// anyEpoch asks whoever takes himself for the leader.
const anyEpoch = -1

// offsets are those of all partitions, by topic.
func (s *Sink) offsets(ctx context.Context, which offset, found map[string]topicInfo) (map[string][]int64, error) {
	all := map[string][]int64{}
	for name, t := range found {
		all[name] = make([]int64, len(t.partitions))
		const together = 16 // the library asks for each on a connection of its own
		for from := 0; from < len(t.partitions); from += together {
			epochs := map[int]int32{}
			for id := from; id < min(from+together, len(t.partitions)); id++ {
				epochs[id] = t.partitions[id].epoch
			}
			some, err := s.list(ctx, which, name, epochs)
			if err != nil {
				return nil, err
			}
			for id, at := range some {
				all[name][id] = at
			}
		}
	}
	return all, nil
}

// list asks the leaders of the partitions, each of which must be the one of the election that epochs says: one that was replaced, and does not know it, may not
// answer. The library's own function has neither the election nor who asks.
func (s *Sink) list(ctx context.Context, which offset, topic string, epochs map[int]int32) (map[int]int64, error) {
	doing, need := "look up where topic "+topic+" begins and ends", toDescribe.on(topic)
	asked := listoffsets.RequestTopic{Topic: topic}
	for id, epoch := range epochs {
		asked.Partitions = append(asked.Partitions, listoffsets.RequestPartition{Partition: int32(id), CurrentLeaderEpoch: epoch, Timestamp: which.time})
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.cfg.RequestTimeout))
	defer cancel()
	answer, err := s.transport.RoundTrip(ctx, s.client.Addr, &listoffsets.Request{ReplicaID: which.replica, Topics: []listoffsets.RequestTopic{asked}})
	if err != nil {
		return nil, classify(err).tell(doing, need, err)
	}
	all := map[int]int64{}
	for _, t := range answer.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			err := codeError(p.ErrorCode)
			if err == kafkago.Unknown { //nolint:errorlint // the library's own: one of several brokers was not reached
				err = kafkago.BrokerNotAvailable
			}
			if err != nil {
				return nil, classify(err).tell("look up where "+partitionName(topic, int(p.Partition))+" begins and ends", need, err)
			}
			all[int(p.Partition)] = p.Offset
		}
	}
	if len(all) < len(epochs) {
		return nil, fmt.Errorf("%s: an answer for %d of %d partitions", doing, len(all), len(epochs))
	}
	return all, nil
}

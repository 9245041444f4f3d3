package kafka

import (
	"encoding/binary"
	"fmt"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// A place is an offset of the batch's partition; a mark has one for each.

func appendPlace(b []byte, offset int64) []byte { return binary.AppendUvarint(b, uint64(offset)) }

func placeOf(b []byte) int64 {
	offset, n := binary.Uvarint(b)
	if n <= 0 {
		return 0
	}
	return int64(offset)
}

// mark is where to look for what landed, by topic.
type mark map[string]topicMark

type topicMark struct {
	id   topicID
	ends []int64 // by partition
}

// markVersion begins an encoded mark. Then, per topic in order: its name with its length, its id, the number of partitions and their offsets.
const markVersion = 1

func (m mark) encode(names []string) []byte {
	b := []byte{markVersion}
	for _, name := range names {
		t := m[name]
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		b = append(b, t.id[:]...)
		b = binary.AppendUvarint(b, uint64(len(t.ends)))
		for _, end := range t.ends {
			b = appendPlace(b, end)
		}
	}
	return b
}

func decodeMark(b []byte) (mark, error) {
	size := len(b)
	broken := func() (mark, error) {
		return nil, fmt.Errorf("the spool's mark of this sink, %d bytes, is not one of Kafka's: if another kind of sink had its name, give this one a name of its own, or see bridge spool forget", size)
	}
	number := func() (int, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<62 {
			return 0, false
		}
		b = b[n:]
		return int(v), true
	}
	if len(b) == 0 || b[0] != markVersion {
		return broken()
	}
	b = b[1:]
	m := mark{}
	for len(b) > 0 {
		n, ok := number()
		if !ok || n > len(b) {
			return broken()
		}
		name := string(b[:n])
		b = b[n:]
		var t topicMark
		if len(b) < len(t.id) {
			return broken()
		}
		b = b[copy(t.id[:], b):]
		count, ok := number()
		if !ok || count > len(b) {
			return broken()
		}
		t.ends = make([]int64, count)
		for i := range t.ends {
			end, ok := number()
			if !ok {
				return broken()
			}
			t.ends[i] = int64(end)
		}
		m[name] = t
	}
	return m, nil
}

// Mark implements sink.Sink: per partition the oldest Place of its open batches, else the newest offset known. Nil before the sink was first opened.
func (s *Sink) Mark(open []*sink.Batch) []byte {
	if s.lanes == nil {
		return nil
	}
	places := map[int]int64{}
	for _, b := range open {
		if at, ok := places[b.Lane]; !ok || placeOf(b.Place) < at {
			places[b.Lane] = placeOf(b.Place)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := mark{}
	for name, r := range s.routes {
		t := topicMark{s.seen[name], make([]int64, r.partitions)}
		for i := range t.ends {
			t.ends[i] = s.lanes[r.first+i].end.Load()
			if at, ok := places[r.first+i]; ok {
				t.ends[i] = min(t.ends[i], at)
			}
		}
		m[name] = t
	}
	return m.encode(s.names)
}

package kafka

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// TestPartition holds the hash and the choice of a partition against what Kafka's own producer did, and against the library's balancer.
func TestPartition(t *testing.T) {
	for _, tt := range []struct {
		key             string // hex
		hash            uint32
		of8, of6, of100 int
	}{
		{"", 275646681, 1, 3, 81},
		{"61", 2731586172, 4, 4, 24},
		{"616263", 479470107, 3, 3, 7},
		{"c3a9", 186971271, 7, 3, 71},
		{"e697a5e69cace8aa9e", 1431860170, 2, 4, 70},
		{"f09f9880", 131881617, 1, 3, 17},
	} {
		key, err := hex.DecodeString(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		hash := spool.Hash(string(key))
		if hash != tt.hash {
			t.Errorf("hash of %x: got %d, want %d", key, hash, tt.hash)
		}
		for n, want := range map[int]int{8: tt.of8, 6: tt.of6, 100: tt.of100} {
			if got := partitionOf(hash, n); got != want {
				t.Errorf("partition of %x, of %d: got %d, want %d", key, n, got, want)
			}
			ids := make([]int, n)
			for i := range ids {
				ids[i] = i
			}
			if got := (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: key}, ids...); got != want {
				t.Errorf("the library's partition of %x, of %d: got %d, want %d", key, n, got, want)
			}
		}
	}
}

// decode reads an encoded batch with the library's own reader, which checks the checksum.
func decode(t *testing.T, data []byte) (*protocol.RecordBatch, []kafkago.Record) {
	t.Helper()
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	stream, ok := set.Records.(*protocol.RecordStream)
	if !ok || len(stream.Records) != 1 {
		t.Fatalf("got %T, want a stream of one batch", set.Records)
	}
	b := stream.Records[0].(*protocol.RecordBatch)
	var all []kafkago.Record
	for {
		r, err := b.ReadRecord()
		if errors.Is(err, io.EOF) {
			return b, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *r)
	}
}

func TestEncode(t *testing.T) {
	at := time.UnixMilli(1_790_000_000_123)
	for name, compression := range compressions {
		for _, mode := range []string{Structured, Binary} {
			t.Run(name+" "+mode, func(t *testing.T) {
				e := encoder{binary: mode == Binary, compression: compression}
				records := records("Zoë", 1, 40)
				var buf bytes.Buffer
				if err := e.encode(&buf, records, at, producer{1 << 40, 7}, 1<<31-20); err != nil {
					t.Fatal(err)
				}
				b, got := decode(t, buf.Bytes())
				if b.ProducerID != 1<<40 || b.ProducerEpoch != 7 || b.BaseSequence != 1<<31-20 || b.BaseOffset != 0 {
					t.Errorf("got producer %d, epoch %d, sequence %d, offset %d", b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.BaseOffset)
				}
				if len(got) != len(records) {
					t.Fatalf("got %d records, want %d", len(got), len(records))
				}
				for i, r := range got {
					key, _ := kafkago.ReadAll(r.Key)
					value, _ := kafkago.ReadAll(r.Value)
					if string(key) != "Zoë" || !r.Time.Equal(at) {
						t.Errorf("record %d: got key %q, time %v", i, key, r.Time)
					}
					headers := map[string]string{}
					for _, h := range r.Headers {
						headers[h.Key] = string(h.Value)
					}
					id := records[i].Header.ID
					if mode == Binary {
						if headers["ce_id"] != id || headers["ce_specversion"] != "1.0" || headers["content-type"] != "application/json" || headers["ce_partitionkey"] != "Zoë" {
							t.Errorf("record %d: got headers %v", i, headers)
						}
						if string(value) != string(records[i].Data) {
							t.Errorf("record %d: got value %s", i, value)
						}
						continue
					}
					if d := cmp.Diff(map[string]string{"ce_id": id, "content-type": "application/cloudevents+json"}, headers); d != "" {
						t.Errorf("record %d: headers (-want +got):\n%s", i, d)
					}
					var doc struct {
						ID   string
						Data json.RawMessage
					}
					if err := json.Unmarshal(value, &doc); err != nil || doc.ID != id || string(doc.Data) != string(records[i].Data) {
						t.Errorf("record %d: got %s (%v)", i, value, err)
					}
				}
			})
		}
	}
}

// TestLimits holds that a full batch of usual events is smaller than what brokers take by default.
func TestLimits(t *testing.T) {
	l := limits(8, 64)
	all := records("WT"+strings.Repeat("a", 32), 1, l.Records)
	for i := range all {
		all[i].Data = bytes.Repeat([]byte("x"), l.Bytes/l.Records)
	}
	var buf bytes.Buffer
	if err := (&encoder{}).encode(&buf, all, time.UnixMilli(1), producer{}, 0); err != nil {
		t.Fatal(err)
	}
	if got := buf.Len() - sizeBytes; got > leastMessage {
		t.Errorf("got %d bytes, want %d at most", got, leastMessage)
	}
	t.Logf("%d records, %d bytes", l.Records, buf.Len())
}

func TestMarkCodec(t *testing.T) {
	want := mark{
		"facts":  {topicID{1, 2, 3}, []int64{0, 7, 1 << 40}},
		"facts2": {topicID{}, []int64{5}},
	}
	encoded := want.encode([]string{"facts", "facts2"})
	got, err := decodeMark(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(topicMark{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for n := range encoded {
		cut, err := decodeMark(encoded[:n])
		if err == nil && len(cut) == len(want) {
			t.Errorf("%d of %d bytes pass for a mark", n, len(encoded))
		}
	}
	if _, err := decodeMark([]byte("junk")); err == nil {
		t.Error("junk passes for a mark")
	}
}

func FuzzMark(f *testing.F) {
	f.Add(mark{"facts": {topicID{1}, []int64{1, 2}}}.encode([]string{"facts"}))
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decodeMark(b) })
}

// FuzzDecoder holds that an answer that is cut or makes no sense does no harm.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := newDecoder(b)
		d.topics()
	})
}

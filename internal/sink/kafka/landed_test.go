package kafka

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// TestUnsure: after an answer that leaves open what is stored, nothing goes on before Landed, and then a new epoch begins.
func TestUnsure(t *testing.T) {
	for _, tt := range []struct {
		code  *kerr.Error
		epoch int16 // afterwards
		new   bool  // producer
	}{
		{kerr.OutOfOrderSequenceNumber, 1, false},
		{kerr.UnknownProducerID, 1, false},
		{kerr.InvalidProducerEpoch, 0, true},
	} {
		t.Run(tt.code.Message, func(t *testing.T) {
			c, s, _ := one(t)
			all := records("WT1", 1, 6)
			b, answers := batch(s, all[:3])
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			failProduce(c, tt.code, 1)
			b, answers = batch(s, all[3:])
			if err := send(t, s, b, answers); !errors.Is(err, sink.ErrUnsure) {
				t.Fatalf("got %v, want ErrUnsure", err)
			}
			var found []string
			if err := s.Landed(t.Context(), s.Mark([]*sink.Batch{b}), func(id string) { found = append(found, id) }); err != nil || len(found) > 0 {
				t.Fatalf("landed: got %v (%v), want nothing", found, err)
			}
			b, answers = batch(s, all[3:])
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			wantStored(t, c, idsOf(all))
			got, err := storedRecords(t.Context(), c.client, "facts")
			if err != nil {
				t.Fatal(err)
			}
			before, after := got[0], got[len(got)-1]
			if after.Epoch != tt.epoch || after.Sequence != 0 || (before.Producer != after.Producer) != tt.new {
				t.Errorf("got %+v after %+v, want epoch %d, sequence 0, another producer: %t", after, before, tt.epoch, tt.new)
			}
		})
	}
}

// TestLandedOfAnotherProcess: what an earlier process has sent is found from its mark on, and a topic of the same name is not taken for it.
func TestLandedOfAnotherProcess(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 4)
	b, answers := batch(s, all[:2])
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	kept := s.Mark(nil)
	b, answers = batch(s, all[2:])
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	again, _ := opened(t, testConfig(c))
	var found []string
	if err := again.Landed(t.Context(), kept, func(id string) { found = append(found, id) }); err != nil || !slices.Equal(found, idsOf(all[2:])) {
		t.Errorf("got %v (%v), want %v", found, err, idsOf(all[2:]))
	}
	if err := errors.Join(c.DeleteTopic("facts"), c.CreateTopic("facts", 1, nil)); err != nil {
		t.Fatal(err)
	}
	third, _ := opened(t, testConfig(c))
	b, answers = batch(third, all) // more than there was
	if err := send(t, third, b, answers); err != nil {
		t.Fatal(err)
	}
	if err := third.Landed(t.Context(), kept, func(string) {}); !errors.Is(err, sink.ErrBrokerLost) {
		t.Errorf("got %v, want ErrBrokerLost", err)
	}
}

package mapping

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// An id stands for itself alone, however alike others are.
func TestToldTellsIDsApart(t *testing.T) {
	alike := []string{
		"WR1:created", "WR1:completed", "WR2:created", "WR1", "WR1:", "WR1:created:1", "WR1:updated", "WR1:updated:1", "WT1:completed", "WK1:activity_changed:1:WA1", ":created", "",
	}
	for _, id := range alike {
		var told Told
		told.Add(id, 1)
		var has []string
		for _, other := range alike {
			if told.Has(other) {
				has = append(has, other)
			}
		}
		if diff := cmp.Diff([]string{id}, has); diff != "" {
			t.Errorf("after Add(%q), what Has knows (-want +got):\n%s", id, diff)
		}
	}
}

// Every verb of a reservation has a bit; the bits are those of earlier versions, whose checkpoints hold them.
func TestVerbsKeepTheirBits(t *testing.T) {
	for _, typ := range event.Types {
		if typ.Noun() == "reservation" && verbsOf(typ) == 0 {
			t.Errorf("%s has no bit", typ)
		}
	}
	want := map[string]verbs{
		"": 1, "created": 2, "accepted": 4, "wrapping": 8, "completed": 16, "rejected": 32, "timed_out": 64, "canceled": 128, "rescinded": 256, "failed": 512,
		"ended_unseen": 1024,
	}
	if diff := cmp.Diff(want, verbBits); diff != "" {
		t.Errorf("bits (-want +got):\n%s", diff)
	}
}

func TestToldIsSavedAsItIs(t *testing.T) {
	full := Told{Swept: 7}
	for i := range 1000 {
		full.Add(fmt.Sprintf("WR%d:created", i), event.Instant(i))
		full.Add(fmt.Sprintf("WR%d:updated:%d", i%10, i), event.Instant(-i))
	}
	for name, told := range map[string]Told{"nothing": {}, "no entry": {Swept: 7}, "full": full} {
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(told); err != nil {
			t.Fatal(err)
		}
		var got Told
		if err := gob.NewDecoder(&b).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(told, got, cmp.AllowUnexported(Told{}, entry{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	whole, err := full.GobEncode()
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 8, toldBytes - 1} {
		if err := new(Told).GobDecode(slices.Clone(whole[:len(whole)-cut])); err == nil {
			t.Errorf("%d bytes cut off: got no error", cut)
		}
	}
}

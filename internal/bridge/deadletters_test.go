package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// letterBox is a store of dead letters that a test can look into, and break.
type letterBox struct {
	kept  map[string]deadletter.Letter // by the event's id
	puts  int
	order []string
	fail  func() bool
	lose  bool // says that it keeps them, and does not
}

func (b *letterBox) Put(letters []deadletter.Letter) error {
	b.puts++
	if b.fail != nil && b.fail() {
		return errors.New("no space left on device")
	}
	if b.lose {
		return nil
	}
	if b.kept == nil {
		b.kept = map[string]deadletter.Letter{}
	}
	for _, l := range letters {
		id := l.Record.Header.ID
		b.kept[id] = l
		b.order = append(b.order, id)
	}
	return nil
}

// choosySink has one lane per key and answers at once with what refuse says of a record, nil: stored.
type choosySink struct {
	plainSink
	refuse func(*spool.Record) error
}

func (s *choosySink) Limits() sink.Limits {
	return sink.Limits{Lanes: 1 << 16, InFlight: 1 << 12, Records: 1, Bytes: 1 << 20}
}
func (s *choosySink) Lane(r *spool.Record) int { return int(r.Key % (1 << 16)) }
func (s *choosySink) Send(b *sink.Batch) {
	b.FirstSent = time.UnixMilli(1)
	for i := range b.Records {
		if err := s.refuse(&b.Records[i]); err != nil {
			b.Done(err)
			return
		}
	}
	s.stored = append(s.stored, b.Records...)
	b.Done(nil)
}

// refusing is a publisher with its sink, in virtual time that a test moves.
type refusing struct {
	*publisher
	clock time.Time
	sink  *choosySink
	log   spool.Log
	reg   *prometheus.Registry
}

func newRefusing(t *testing.T, letters DeadLetters, zl *zap.Logger, refuse func(*spool.Record) error) *refusing {
	t.Helper()
	s := &choosySink{refuse: refuse}
	return newRefusingSink(t, letters, zl, s, s)
}

// newRefusingSink is the same with a sink around the choosy one.
func newRefusingSink(t *testing.T, letters DeadLetters, zl *zap.Logger, s sink.Sink, choosy *choosySink) *refusing {
	t.Helper()
	r := &refusing{clock: time.UnixMilli(1_795_250_000_000), sink: choosy, reg: prometheus.NewRegistry()}
	r.log = spool.NewMemory(spool.MemoryOptions{})
	o := Options{BridgeID: "b", now: func() time.Time { return r.clock }, rand: func() float64 { return 1 }}
	b, err := New(o, nil, r.log, map[string]sink.Sink{"facts": s}, letters, zl, r.reg)
	if err != nil {
		t.Fatal(err)
	}
	r.publisher = b.publishers[0]
	return r
}

func (r *refusing) append(t *testing.T, id, key string) {
	t.Helper()
	e := event.Encoded{Header: event.Header{ID: id, PartitionKey: key, Type: event.ReservationCreated}, Data: []byte(`{"secret":"` + canary + id + `"}`)}
	if _, err := r.log.Append(spool.Normal, &e); err != nil {
		t.Fatal(err)
	}
}

// turn lets everything happen that is due within some seconds.
func (r *refusing) turn(ctx context.Context) {
	for range 5 {
		r.clock = r.clock.Add(3 * time.Second)
		r.step(ctx)
		r.step(ctx)
	}
}

func (r *refusing) pending() int { n, _, _ := r.cursor.Pending(); return n }

func (r *refusing) delivered() (ids []string) {
	for _, s := range r.sink.stored {
		ids = append(ids, s.Header.ID)
	}
	return ids
}

const canary = "canary-of-a-caller"

var tooLarge = retry.Reasonf("too_large", `message of {"secret":"%s"} is too large`, canary)

func poison(r *spool.Record) error {
	if strings.HasPrefix(r.Header.ID, "poison") {
		return &sink.Rejected{Pos: []spool.Pos{r.Pos}, Err: tooLarge}
	}
	return nil
}

// What is refused for good is kept with its history, and its lane goes on.
func TestSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), deadletter.Dir)
	store, err := deadletter.Open(deadletter.Options{Dir: dir, Now: func() time.Time { return time.UnixMilli(1_795_250_000_000) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	sent := 0
	r := newRefusing(t, store, zap.NewNop(), func(r *spool.Record) error {
		if r.Header.ID == "poison" {
			if sent++; sent < 3 {
				return errors.New("no answer in time")
			}
		}
		return poison(r)
	})
	for _, id := range []string{"before", "poison", "after"} {
		r.append(t, id, "key")
	}
	r.append(t, "other", "another key")
	r.turn(t.Context())
	if got := r.delivered(); !slices.Equal(slices.DeleteFunc(got, func(id string) bool { return id == "other" }), []string{"before", "after"}) {
		t.Errorf("got %v delivered, want the lane to go on", r.delivered())
	}
	if r.pending() != 0 {
		t.Errorf("got %d pending, want none", r.pending())
	}
	var got []deadletter.Letter
	if _, err := deadletter.Each(dir, deadletter.Filter{}, func(l *deadletter.Letter) error { got = append(got, *l); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("got %d letters, want one", len(got))
	}
	l := got[0]
	if l.Sink != "facts" || l.Record.Header.ID != "poison" || l.Record.Pos != 2 || !bytes.Contains(l.Record.Data, []byte(canary)) || l.Reason != "too_large" ||
		l.Attempts != 3 || l.First != "no answer in time" || l.Last != "message of <redacted> is too large" || l.FirstAt == 0 || l.FirstAt >= l.At {
		t.Errorf("got %+v, want the record with its history", l)
	}
}

// The record is done only when its letter is kept: were the process to die within Put, one of the two has it.
func TestSetAsideBeforeDone(t *testing.T) {
	box := &letterBox{}
	r := newRefusing(t, box, zap.NewNop(), poison)
	broken := true
	var left []int
	box.fail = func() bool {
		left = append(left, r.pending())
		return broken
	}
	r.append(t, "poison", "key")
	r.append(t, "after", "key")
	r.append(t, "other", "another key")
	r.turn(t.Context())
	if box.puts < 2 || r.pending() != 2 || !slices.Equal(r.delivered(), []string{"other"}) {
		t.Errorf("store fails: got %d attempts, %d pending and %v delivered, want repeats, the lane waiting and the others not", box.puts, r.pending(), r.delivered())
	}
	broken = false
	r.turn(t.Context())
	if slices.Min(left) < 2 {
		t.Errorf("got %v records in the log while letters were put, want the refused one among them always", left)
	}
	if r.pending() != 0 || !slices.Equal(box.order, []string{"poison"}) || !slices.Equal(r.delivered(), []string{"other", "after"}) {
		t.Errorf("store works: got %d pending, letters %v and %v delivered", r.pending(), box.order, r.delivered())
	}
	if n := box.kept["poison"].Attempts; n != box.puts {
		t.Errorf("got %d attempts, want one per refusal: %d", n, box.puts)
	}
}

// A broker that does not say which record of a batch is to blame: the batch is halved until it is found, and nothing overtakes.
func TestSetAsideFromBatches(t *testing.T) {
	for _, named := range []bool{true, false} {
		box := &letterBox{}
		r := newRefusing(t, box, zap.NewNop(), func(record *spool.Record) error {
			err := poison(record)
			if err != nil && !named {
				err = &sink.Rejected{Err: tooLarge}
			}
			return err
		})
		r.publisher.limits.Records = 8
		var want, bad []string
		for n := range 50 {
			id := fmt.Sprintf("ok%d", n)
			if n%7 == 3 {
				id = fmt.Sprintf("poison%d", n)
				bad = append(bad, id)
			} else {
				want = append(want, id)
			}
			r.append(t, id, "key")
		}
		for range 20 {
			r.turn(t.Context())
		}
		if diff := cmp.Diff(want, r.delivered()); diff != "" {
			t.Errorf("named %t: delivered (-want +got):\n%s", named, diff)
		}
		if diff := cmp.Diff(bad, box.order); diff != "" || r.pending() != 0 {
			t.Errorf("named %t: %d pending, letters (-want +got):\n%s", named, r.pending(), diff)
		}
	}
}

// A flood of refusals costs few writes: what is at hand goes with one.
func TestSetAsideInOnePut(t *testing.T) {
	box := &letterBox{}
	r := newRefusing(t, box, zap.NewNop(), poison)
	for n := range 10_000 {
		r.append(t, fmt.Sprintf("poison%d", n), fmt.Sprintf("key%d", n))
	}
	for range 20 {
		r.turn(t.Context())
	}
	if len(box.kept) != 10_000 || box.puts > 50 {
		t.Errorf("got %d letters in %d puts, want 10000 in some ten", len(box.kept), box.puts)
	}
}

// Neither logs nor metrics tell what is in an event, also when the broker's error quotes it.
func TestSetAsideTellsNoPayload(t *testing.T) {
	for _, broken := range []bool{false, true} {
		var told bytes.Buffer
		core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&told), zapcore.DebugLevel)
		box := &letterBox{fail: func() bool { return broken }}
		r := newRefusing(t, box, zap.New(core), poison)
		r.append(t, "poison", "key")
		r.turn(t.Context())
		if !strings.Contains(told.String(), "set aside") {
			t.Errorf("got %s, want a line about it", told.String())
		}
		families, err := r.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if _, err := expfmt.MetricFamilyToText(&told, f); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range box.kept {
			told.WriteString(l.First + l.Last)
		}
		if strings.Contains(told.String(), canary) {
			t.Errorf("the payload is in:\n%s", told.String())
		}
	}
}

// strictSink knows a batch that it was given until it has stored or refused it, as the one for Kafka does: what comes later as the same batch may be stored for
// all that it knows.
type strictSink struct {
	choosySink
	asked int // what has landed
}

func (s *strictSink) Send(b *sink.Batch) {
	if !b.FirstSent.IsZero() {
		b.Done(sink.ErrUnsure)
		return
	}
	s.choosySink.Send(b)
}

func (s *strictSink) Landed(ctx context.Context, mark []byte, found func(string)) error {
	s.asked++
	return s.choosySink.Landed(ctx, mark, found)
}

// While the letters of what is refused cannot be kept, it goes again as something new: nothing of it is in doubt, and the broker need not be asked what it holds, for
// which all other lanes would have to wait.
func TestRefusedAgain(t *testing.T) {
	broken := true
	box := &letterBox{fail: func() bool { return broken }}
	s := &strictSink{choosySink: choosySink{refuse: poison}}
	r := newRefusingSink(t, box, zap.NewNop(), s, &s.choosySink)
	r.append(t, "poison", "key")
	r.append(t, "after", "key")
	r.turn(t.Context())
	atStart := s.asked
	r.turn(t.Context())
	if box.puts < 5 || s.asked != atStart {
		t.Errorf("got %d attempts to keep the letter and %d questions, want many and none but %d at the start", box.puts, s.asked, atStart)
	}
	broken = false
	r.turn(t.Context())
	if r.pending() != 0 || !slices.Equal(box.order, []string{"poison"}) || !slices.Equal(r.delivered(), []string{"after"}) {
		t.Errorf("store works: got %d pending, letters %v and %v delivered", r.pending(), box.order, r.delivered())
	}
}

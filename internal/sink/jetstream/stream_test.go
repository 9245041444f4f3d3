package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestStreamCreated(t *testing.T) {
	server := startServer(t, t.TempDir(), 0)
	c := testConfig(server.URL())
	c.MaxBytes = 1 << 30
	connect(t, c)
	js, err := jetstream.New(dial(t, server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "FACTS")
	if err != nil {
		t.Fatal(err)
	}
	got := stream.CachedInfo().Config
	if len(got.Subjects) != 1 || got.Subjects[0] != "contact.*.*.*.*.*" || got.Storage != jetstream.FileStorage || got.Discard != jetstream.DiscardOld ||
		got.MaxAge != 7*24*time.Hour || got.Duplicates != 2*time.Minute || got.MaxBytes != 1<<30 || got.Replicas != 1 {
		t.Errorf("created stream: got %+v", got)
	}
}

// TestStreamMismatch starts on an existing stream that does not fit, sees why it is not used, and sees it used once it was mended by hand.
func TestStreamMismatch(t *testing.T) {
	server := startServer(t, t.TempDir(), 0)
	js, err := jetstream.New(dial(t, server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	existing := jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"other.>"}, Duplicates: time.Second, Storage: jetstream.FileStorage}
	if _, err := js.CreateStream(t.Context(), existing); err != nil {
		t.Fatal(err)
	}
	s := start(t, testConfig(server.URL()), zap.NewNop(), prometheus.NewRegistry())
	sinktest.Eventually(t, func() error {
		if err := s.Ready(); !retry.IsPermanent(err) {
			return fmt.Errorf("Ready: got %v, want a permanent error", err)
		}
		return nil
	})
	for _, want := range []string{
		"stream FACTS: subjects: wanted contact.*.*.*.*.*, found other.>; run: nats stream edit FACTS --subjects contact.*.*.*.*.*",
		"stream FACTS: duplicate_window: wanted 2m or more, found 1s; run: nats stream edit FACTS --dupe-window 2m0s",
	} {
		if got := s.Ready().Error(); !strings.Contains(got, want) {
			t.Errorf("Ready: got %q, want it to say %q", got, want)
		}
	}
	if err := send(t, s, record("x")); err == nil {
		t.Error("Send: got success on a stream that does not fit")
	}
	stream, err := js.Stream(t.Context(), "FACTS")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config; got.Subjects[0] != "other.>" || got.Duplicates != time.Second {
		t.Errorf("the existing stream was changed: %+v", got)
	}
	existing.Subjects, existing.Duplicates = []string{"other.>", "contact.>"}, 5*time.Minute
	if _, err := js.UpdateStream(t.Context(), existing); err != nil {
		t.Fatal(err)
	}
	s.wake() // rather than wait for the next look, 30 s later
	sinktest.Eventually(t, s.Ready)
	if err := send(t, s, record("x")); err != nil {
		t.Error(err)
	}
}

// What the server refuses to create is named by its reason, and the operator is told what to do.
func TestStreamCannotBeCreated(t *testing.T) {
	for _, test := range []struct {
		name         string
		change       func(*Config)
		reason, says string
		permanent    bool
	}{
		{"another stream has the subjects", func(*Config) {}, "stream_mismatch", "name the stream that has them", true},
		{"replicas without a cluster", func(c *Config) { c.Subject, c.Replicas = "free.{agent}", 3 }, "stream_mismatch", "set replicas: 1", true},
		{"larger than the disk", func(c *Config) { c.Subject, c.MaxBytes = "free.{agent}", 1<<60 }, "no_resources", "insufficient storage", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			url := startServer(t, t.TempDir(), 0).URL()
			js, err := jetstream.New(dial(t, url))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"contact.>"}}); err != nil {
				t.Fatal(err)
			}
			c := testConfig(url)
			test.change(&c)
			s := start(t, c, zap.NewNop(), prometheus.NewRegistry())
			sinktest.Eventually(t, func() error {
				if err := s.Ready(); retry.ReasonOf(err) == "disconnected" {
					return err
				}
				return nil
			})
			if err := s.Ready(); retry.ReasonOf(err) != test.reason || retry.IsPermanent(err) != test.permanent || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("got %v of reason %s, want reason %s and %q", err, retry.ReasonOf(err), test.reason, test.says)
			}
		})
	}
}

// meanwhile lets something happen between the server's answer and what is made of it.
type meanwhile struct {
	jetstream.JetStream
	what func() error
}

func (m meanwhile) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := m.JetStream.Stream(ctx, name)
	return stream, errors.Join(m.what(), err)
}

// What was found out about the stream over a connection that was lost meanwhile must not hide that loss, whatever it was.
func TestVerificationOfALostConnection(t *testing.T) {
	s := connect(t, testConfig(startServer(t, t.TempDir(), 0).URL()))
	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range []error{nil, errors.New("no answer")} {
		lose := func() error {
			s.disconnected(nil)
			return found
		}
		if err := s.verifyStream(t.Context(), meanwhile{js, lose}); err != nil {
			t.Errorf("found %v: got %v, want nothing to be made of it", found, err)
		}
		if got := s.Ready(); retry.ReasonOf(got) != "disconnected" {
			t.Errorf("found %v: Ready: got %v, want it to be disconnected", found, got)
		}
	}
}

// An operator edits the stream while events are sent: its duplicate window counts from then on, and what no longer fits stops the sink.
func TestStreamEdited(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	js, err := jetstream.New(dial(t, srv.URL()))
	if err != nil {
		t.Fatal(err)
	}
	existing := jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"contact.>"}, Duplicates: time.Hour}
	if _, err := js.CreateStream(t.Context(), existing); err != nil {
		t.Fatal(err)
	}
	s, err := New(testConfig(srv.URL()), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.lookEvery = 20 * time.Millisecond
	sinktest.Connect(t, s)
	sinktest.Eventually(t, s.Ready)
	old := func() error { // a batch that the server remembers for an hour or not at all
		answers := make(chan error, 1)
		b := sink.NewBatch(0, []spool.Record{record("x")}, func(_ *sink.Batch, err error) { answers <- err })
		b.FirstSent, b.Place = time.Now().Add(-10*time.Minute), s.Mark(nil)
		b.Out()
		s.Send(b)
		return sinktest.Answer(t, answers)
	}
	if err := old(); err != nil {
		t.Errorf("within the duplicate window: got %v", err)
	}
	edit := func(change func()) {
		t.Helper()
		change()
		if _, err := js.UpdateStream(t.Context(), existing); err != nil {
			t.Fatal(err)
		}
	}
	edit(func() { existing.Duplicates = 5 * time.Minute })
	sinktest.Eventually(t, func() error {
		if err := old(); !errors.Is(err, sink.ErrUnsure) {
			return fmt.Errorf("after a shorter duplicate window: got %v, want ErrUnsure", err)
		}
		return nil
	})
	edit(func() { existing.Subjects = []string{"other.>"} })
	sinktest.Eventually(t, func() error {
		if err := s.Ready(); retry.ReasonOf(err) != "stream_mismatch" {
			return fmt.Errorf("Ready after other subjects: got %v, want stream_mismatch", err)
		}
		return nil
	})
}

// A look that was not answered says nothing of the events, which are taken.
func TestLookFails(t *testing.T) {
	s := connect(t, testConfig(startServer(t, t.TempDir(), 0).URL()))
	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no answer")
	if err := s.verifyStream(t.Context(), meanwhile{js, func() error { return failed }}); !errors.Is(err, failed) {
		t.Errorf("got %v, want the failure", err)
	}
	if err := errors.Join(s.Ready(), send(t, s, record("x"))); err != nil {
		t.Errorf("got %v, want events to be sent on", err)
	}
}

func TestVerify(t *testing.T) {
	c := testConfig("nats://127.0.0.1")
	c.Replicas = 3
	good := func() jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Subjects: []string{"x", "contact.>"}, Storage: jetstream.FileStorage, Replicas: 5, Duplicates: time.Hour, Discard: jetstream.DiscardNew,
		}
	}
	tests := []struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		{func(*jetstream.StreamConfig) {}, ""},
		{func(s *jetstream.StreamConfig) { s.Subjects = nil }, "subjects: wanted contact.*.*.*.*.*, found none"},
		{func(s *jetstream.StreamConfig) { s.Subjects = []string{"contact.twilio.>"} }, "subjects"},
		{func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, "storage: wanted file, found Memory; it cannot be changed"},
		{func(s *jetstream.StreamConfig) { s.Replicas = 1 }, "replicas: wanted 3 or more, found 1"},
		{func(s *jetstream.StreamConfig) { s.Duplicates = time.Minute }, "duplicate_window: wanted 2m or more, found 1m"},
		{func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy }, "retention: wanted limits, found WorkQueue"},
		{func(s *jetstream.StreamConfig) { s.NoAck = true }, "no_ack"},
		{func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject"},
		{func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1 << 20 }, ""},
		{func(s *jetstream.StreamConfig) { s.MaxMsgSize = -1 }, ""},
		{
			func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1500 },
			"max_msg_size: wanted no limit, or 1048576 or more, found 1500; run: nats stream edit FACTS --max-msg-size=-1, or name another stream",
		},
		{func(s *jetstream.StreamConfig) { s.Sealed = true }, "sealed"},
		{func(s *jetstream.StreamConfig) { s.SubjectTransform = &jetstream.SubjectTransformConfig{} }, "subject_transform"},
	}
	for _, tt := range tests {
		have := good()
		tt.change(&have)
		err := c.verify(&have, "contact.*.*.*.*.*")
		if tt.want == "" {
			if err != nil {
				t.Errorf("fitting stream: got %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || !retry.IsPermanent(err) {
			t.Errorf("got %v, want one permanent problem that says %q", err, tt.want)
		}
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		pattern, wildcard string
		want              bool
	}{
		{">", "c.*", true},
		{"c.>", "c.*", true},
		{"c.*", "c.*", true},
		{"*.*", "c.*", true},
		{"c.x", "c.x", true},
		{"c.x", "c.*", false},
		{"c", "c.*", false},
		{"c.*.*", "c.*", false},
		{"c.*.>", "c.*", false},
		{"d.>", "c.*", false},
	}
	for _, tt := range tests {
		if got := covers(tt.pattern, tt.wildcard); got != tt.want {
			t.Errorf("%s covers %s: got %v, want %v", tt.pattern, tt.wildcard, got, tt.want)
		}
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"2.10.22": true, "2.9.25": true, "1.4.1": true, "2.10.23": false, "2.10.24-RC.1": false, "2.11.0": false, "3.0.0": false, "dev": false,
	} {
		if got := older(version, oldest); got != want {
			t.Errorf("%s: got %v, want %v", version, got, want)
		}
	}
}

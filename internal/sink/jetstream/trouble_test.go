package jetstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// TestPermissionViolation publishes to subjects of which one is not allowed. The server answers such a publish with nothing at all.
func TestPermissionViolation(t *testing.T) {
	url := custom(t, server.Options{Users: []*server.User{{
		Username: "bridge", Password: "pw", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"contact.twilio.AC1.>", "$JS.API.>"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		},
	}}})
	c := testConfig(url)
	c.User, c.Password, c.AckTimeout = "bridge", config.NewSecret("pw"), config.Duration(time.Minute)
	s := connect(t, c)
	denied := record("denied")
	denied.Header.Account = "AC2"
	_, other := sendBatch(s, record("allowed"))
	if err := send(t, s, denied); retry.ReasonOf(err) != "permission" || retry.Delay(err) == 0 || !strings.Contains(err.Error(), "contact.twilio.AC2") {
		t.Errorf("got %v, want a delayed error of reason permission that names the subject", err)
	}
	if err := sinktest.Answer(t, other); err != nil {
		t.Errorf("another subject at the same time: %v", err)
	}
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "grant the bridge's NATS user") {
		t.Errorf("Ready: got %v, want it to tell what to grant", err)
	}
	if got := testutil.ToFloat64(s.metrics.permission); got != 1 {
		t.Errorf("permission_violations_total: got %v, want 1", got)
	}
}

// An outage for lack of permission is a few lines in the log, however many subjects it concerns, and is over when it is mended.
func TestPermissionGranted(t *testing.T) {
	o := &server.Options{}
	grant := func(subjects ...string) {
		o.Users = []*server.User{{Username: "bridge", Password: "pw", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: append(subjects, "$JS.API.>")},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}}
	}
	grant("contact.twilio.AC1.>")
	srv := customServer(t, o)
	c := testConfig(srv.ClientURL())
	c.User, c.Password = "bridge", config.NewSecret("pw")
	var log sinktest.Lines
	s := start(t, c, log.Logger(), prometheus.NewRegistry())
	sinktest.Eventually(t, s.Ready)
	denied := func(agent string) spool.Record {
		r := record(agent)
		r.Header.Account, r.Header.Agent = "AC2", agent
		return r
	}
	for _, agent := range []string{"WK1", "WK2", "WK3"} {
		if err := send(t, s, denied(agent)); retry.ReasonOf(err) != "permission" {
			t.Fatalf("got %v, want reason permission", err)
		}
	}
	if got := strings.Count(log.String(), `"level":"error"`); got != 1 {
		t.Errorf("got %d errors in the log, want one:\n%s", got, &log)
	}
	if err := send(t, s, record("allowed")); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(); retry.ReasonOf(err) != "permission" {
		t.Errorf("another subject's event was taken: got %v, want reason permission", err)
	}
	forever := func() {
		s.mu.Lock()
		s.denied.at = time.Now().Add(time.Hour)
		s.mu.Unlock()
	}
	forever()
	grant("contact.>")
	next := o.Clone()
	if err := srv.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
	sinktest.Eventually(t, func() error { return send(t, s, denied("WK3")) })
	if err := s.Ready(); err != nil {
		t.Errorf("an event was taken on the subject: got %v, want it to be ready", err)
	}

	s.asyncError(fmt.Errorf("%w: Permissions Violation for Subscription to x", nats.ErrPermissionViolation))
	forever()
	if err := s.Ready(); retry.ReasonOf(err) != "permission" {
		t.Fatalf("got %v, want reason permission", err)
	}
	if err := s.conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	sinktest.Eventually(t, s.Ready)
}

// While the stream takes nothing Ready says why and so does the log, once; the next event that is taken ends it, and so does a loss of the connection.
func TestTakesNothing(t *testing.T) {
	srv := startServer(t, t.TempDir(), 0)
	proxy := newProxy(t, strings.TrimPrefix(srv.URL(), "nats://"))
	js, err := jetstream.New(dial(t, srv.URL()))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "FACTS", Subjects: []string{"contact.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig(proxy.url())
	c.AckTimeout = config.Duration(100 * time.Millisecond)
	var log sinktest.Lines
	s := start(t, c, log.Logger(), prometheus.NewRegistry())
	sinktest.Eventually(t, s.Ready)
	if err := send(t, s, record("fills it")); err != nil {
		t.Fatal(err)
	}
	refused := func(reason string) {
		t.Helper()
		for i := range 3 {
			if err := send(t, s, record(fmt.Sprint(i))); retry.ReasonOf(err) != reason {
				t.Fatalf("got %v, want reason %s", err, reason)
			}
		}
		if err := s.Ready(); retry.ReasonOf(err) != reason || testutil.ToFloat64(s.metrics.ready) != 0 {
			t.Errorf("Ready: got %v, want reason %s and a stream_ready of 0", err, reason)
		}
		if got := strings.Count(log.String(), fmt.Sprintf(`"reason":%q`, reason)); got != 1 {
			t.Errorf("got %d lines about %s, want one in\n%s", got, reason, &log)
		}
	}
	refused("stream_full")
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(send(t, s, record("fits")), s.Ready()); err != nil || testutil.ToFloat64(s.metrics.ready) != 1 {
		t.Errorf("after a purge: got %v, want it to be ready", err)
	}
	proxy.answers.Hold(true)
	refused("timeout")
	proxy.cut()
	proxy.answers.Hold(false)
	sinktest.Eventually(t, s.Ready)
}

// What each answer to a publish means for Ready: it is refused, or rejected alone, or the stream is looked at, or it is nothing at all.
func TestRefuses(t *testing.T) {
	var got []int
	for code, c := range codes {
		if c.refuses() {
			got = append(got, code)
		}
	}
	slices.Sort(got)
	if want := []int{10002, 10008, 10009, 10023, 10028, 10047, 10077, 10122, 10167}; !slices.Equal(got, want) || !unclassified.refuses() {
		t.Errorf("got %v, want %v and what is unknown", got, want)
	}
}

// docs/health.md explains exactly the reasons that Ready may give.
func TestReasonsAreDocumented(t *testing.T) {
	want := []string{noResponders.reason, unclassified.reason, sink.ReasonReading}
	for _, err := range []error{errNotConnected, errDisconnected, errTimeout, errBadAnswer} {
		want = append(want, retry.ReasonOf(err))
	}
	c := testConfig("nats://127.0.0.1")
	want = append(want, "permission", retry.ReasonOf(c.verify(&jetstream.StreamConfig{}, "contact.*")))
	for _, table := range []map[int]class{codes, streamCodes} {
		for _, c := range table {
			if c.refuses() || c.check {
				want = append(want, c.reason)
			}
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), sinktest.DocumentedReasons(t, "NATS JetStream")); diff != "" {
		t.Errorf("reasons (-program +docs/health.md):\n%s", diff)
	}
}

// docs/deadletters.md explains exactly the reasons that a dead letter may have.
func TestDeadLettersAreDocumented(t *testing.T) {
	var want []string
	for _, c := range codes {
		if c.rejected {
			want = append(want, c.reason)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), sinktest.DocumentedDeadLetters(t, "NATS")); diff != "" {
		t.Errorf("reasons (-program +docs/deadletters.md):\n%s", diff)
	}
}

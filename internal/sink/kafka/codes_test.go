package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason string
		class  class
	}{
		{kafkago.NotLeaderForPartition, "no_leader", codes[kafkago.NotLeaderForPartition]},
		{fmt.Errorf("%w: text", kafkago.Error(29)), "permission", codes[kafkago.TopicAuthorizationFailed]},
		{kafkago.Error(12345), "other", unclassified},
		{protocol.NewErrNoTopic("facts"), "no_leader", notFound}, // also when no broker was reached: no topic is missing
		{protocol.NewErrNoPartition("facts", 3), "no_leader", notFound},
		{protocol.NewErrNoLeader("facts", 3), "no_leader", notFound},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "disconnected", unreachable},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "disconnected", disconnected},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "tls", tlsFailed},
		{tls.RecordHeaderError{Msg: "no TLS"}, "tls", tlsFailed},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "timeout", timedOut},
		{io.EOF, "disconnected", disconnected},
		{context.DeadlineExceeded, "timeout", timedOut},
		{x509.UnknownAuthorityError{}, "tls", tlsFailed},
		{x509.HostnameError{Certificate: &x509.Certificate{}}, "tls", tlsFailed},
		{fmt.Errorf("%w: broker appears to be expecting TLS", io.ErrUnexpectedEOF), "tls", tlsFailed},
		{errors.New("who knows"), "other", unclassified},
	} {
		if got := classify(fmt.Errorf("produce: %w", tt.err)); got != tt.class || got.reason != tt.reason {
			t.Errorf("%v: got %+v, want %s", tt.err, got, tt.reason)
		}
	}
}

// TestMark holds what the publisher is told for each outcome.
func TestMark(t *testing.T) {
	b := sink.NewBatch(0, []spool.Record{{Pos: 7}, {Pos: 8}}, nil)
	err := retry.Reasonf("x", "broken")
	for o, is := range map[outcome]func(error) bool{
		stored:    func(err error) bool { return err == nil },
		unsure:    func(err error) bool { return errors.Is(err, sink.ErrUnsure) && retry.ReasonOf(err) == "x" },
		fenced:    func(err error) bool { return errors.Is(err, sink.ErrUnsure) },
		tooLarge:  func(err error) bool { r, ok := rejection(err); return ok && r.Pos == nil },
		rejected:  func(err error) bool { r, ok := rejection(err); return ok && slices.Equal(r.Pos, []spool.Pos{8}) },
		again:     func(err error) bool { return retry.Delay(err) == slowly },
		elsewhere: func(err error) bool { return retry.Delay(err) == slowly },
	} {
		if got := (class{outcome: o, wait: slowly}).mark(err, b, []int{1, 5}); !is(got) {
			t.Errorf("outcome %d: got %v", o, got)
		}
	}
}

func rejection(err error) (*sink.Rejected, bool) {
	var r *sink.Rejected
	return r, errors.As(err, &r)
}

// docs/health.md explains exactly the reasons that Ready may give.
func TestReasonsAreDocumented(t *testing.T) {
	want := []string{reasonTopic, sink.ReasonReading}
	for _, c := range []class{disconnected, timedOut, tlsFailed, unclassified, notFound, unreachable} {
		want = append(want, c.reason)
	}
	for _, c := range codes {
		if c.troubles() {
			want = append(want, c.reason)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), sinktest.DocumentedReasons(t, "Kafka")); diff != "" {
		t.Errorf("reasons (-program +docs/health.md):\n%s", diff)
	}
}

// docs/deadletters.md explains exactly the reasons that a dead letter may have.
func TestDeadLettersAreDocumented(t *testing.T) {
	of, _ := rejection(noTopic(&sink.Batch{}))
	want := []string{retry.ReasonOf(of.Err)}
	for _, c := range codes {
		if c.outcome == tooLarge || c.outcome == rejected {
			want = append(want, c.reason)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), sinktest.DocumentedDeadLetters(t, "Kafka")); diff != "" {
		t.Errorf("reasons (-program +docs/deadletters.md):\n%s", diff)
	}
}

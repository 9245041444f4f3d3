package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// class is what an error means for the batch and for the sink. The same bytes may always be sent again: the broker recognises them.
type class struct {
	reason  string
	outcome outcome
	wait    time.Duration // at least so long before the same bytes are sent again
	advice  string        // what the operator should do, who alone can settle it: it is told at once
}

// outcome is what follows for the batch.
type outcome uint8

const (
	again     outcome = iota // nothing is wrong with the batch: given back, to be sent again as it is
	elsewhere                // the partition is led elsewhere, or by nobody for the moment: find out where, and send the same bytes
	waiting                  // the same bytes, to the same place, a little later
	tooLarge                 // nothing was stored; fewer records may be taken
	rejected                 // nothing was stored, and the named records never will be
	recode                   // nothing was stored; the same records, encoded again
	unsure                   // may be stored, and a repeat would not be recognised
	fenced                   // like unsure, and the producer id is of no use any more
	stored                   // it is there
)

// slowly is how often something is tried that only an operator can settle.
const slowly = 5 * time.Second

// right is what the Kafka user must be allowed to do on the topics, as kafka-acls.sh calls it. SECURITY.md lists all.
type right string

const (
	toWrite    right = "Write"
	toDescribe right = "Describe"
	toRead     right = "Read"
	toConfigs  right = "DescribeConfigs"
	toCreate   right = "Create"
)

// access is a right on a topic.
type access struct {
	right right
	topic string
}

func (r right) on(topic string) access { return access{r, topic} }

// codes classifies what brokers answer (Kafka protocol, "Error Codes"), as a real broker was seen to use them. A code that is not here is worth retrying.
var codes = map[kafkago.Error]class{
	kafkago.NotLeaderForPartition:        {reason: "no_leader", outcome: elsewhere},
	kafkago.LeaderNotAvailable:           {reason: "no_leader", outcome: elsewhere},
	kafkago.BrokerNotAvailable:           {reason: "no_leader", outcome: elsewhere}, // the library's own too: the leader is not among the brokers it knows
	kafkago.OffsetNotAvailable:           {reason: "no_leader", outcome: elsewhere}, // a new leader that does not know yet how far it may be read
	kafkago.FencedLeaderEpoch:            {reason: "no_leader", outcome: elsewhere}, // there was an election since the question was asked
	kafkago.UnknownLeaderEpoch:           {reason: "no_leader", outcome: elsewhere}, // there was one that this broker does not know of
	kafkago.ReplicaNotAvailable:          {reason: "no_leader", outcome: elsewhere},
	kafkago.NetworkException:             {reason: "no_leader", outcome: elsewhere},
	kafkago.KafkaStorageError:            {reason: "storage", outcome: elsewhere}, // the leader's disk is offline
	kafkago.UnknownTopicOrPartition:      {reason: "no_topic", outcome: elsewhere},
	kafkago.RequestTimedOut:              {reason: "replicas", outcome: elsewhere}, // stored by the leader, not yet by enough others
	kafkago.NotEnoughReplicas:            {reason: "replicas", outcome: waiting, wait: 100 * time.Millisecond},
	kafkago.NotEnoughReplicasAfterAppend: {reason: "replicas", outcome: waiting, wait: 100 * time.Millisecond},
	kafkago.GroupLoadInProgress:          {reason: "starting", outcome: waiting, wait: 20 * time.Millisecond}, // of a producer id, right after a broker's start
	kafkago.GroupCoordinatorNotAvailable: {reason: "starting", outcome: waiting, wait: 20 * time.Millisecond},

	kafkago.MessageSizeTooLarge: {reason: "too_large", outcome: tooLarge},
	kafkago.RecordListTooLarge:  {reason: "too_large", outcome: tooLarge},
	kafkago.InvalidMessage:      {reason: "invalid", outcome: rejected}, // the checksum does not match
	kafkago.InvalidRecord:       {reason: "invalid", outcome: rejected},
	kafkago.InvalidTimestamp: {
		reason: "clock", outcome: recode, wait: slowly, advice: "the clocks of bridge and broker differ by more than the topic's message.timestamp limits: mend them",
	},

	kafkago.DuplicateSequenceNumber:  {outcome: stored},
	kafkago.OutOfOrderSequenceNumber: {reason: "sequence", outcome: unsure},
	kafkago.UnknownProducerId:        {reason: "sequence", outcome: unsure},
	kafkago.InvalidProducerEpoch:     {reason: "fenced", outcome: fenced},
	kafkago.ProducerFenced:           {reason: "fenced", outcome: fenced},

	kafkago.TopicAuthorizationFailed:   {reason: "permission", wait: slowly, advice: grant},
	kafkago.ClusterAuthorizationFailed: {reason: "permission", wait: slowly, advice: grant},
	kafkago.SASLAuthenticationFailed:   {reason: "authentication", wait: slowly, advice: "check sasl.mechanism, the user and its secret"},
	kafkago.UnsupportedSASLMechanism:   {reason: "authentication", wait: slowly, advice: "the listener does not offer sasl.mechanism"},
	kafkago.IllegalSASLState:           {reason: "authentication", wait: slowly, advice: "the listener expects SASL: set sasl"},
	kafkago.UnsupportedCompressionType: {reason: "compression", wait: slowly, advice: "the topic does not take this compression: set another one"},
	kafkago.InvalidTopic:               {reason: "topic_mismatch", wait: slowly, advice: "no broker takes this topic's name: change topic"},
	kafkago.PolicyViolation:            {reason: "topic_mismatch", wait: slowly, advice: "the cluster's policy forbids it"},
}

// grant stands for the advice to grant the right that was needed.
const grant = "grant"

// Classes of errors that are no answer of a broker.
var (
	disconnected = class{reason: "disconnected"}
	timedOut     = class{reason: "timeout"}
	tlsFailed    = class{reason: "tls", wait: slowly, advice: "check tls: ca_file, cert_file and key_file, and whether the listener uses TLS"}
	noTLS        = class{reason: "tls", wait: slowly, advice: "the listener seems not to use TLS: name one in brokers that uses TLS, or leave out tls"}
	unclassified = class{reason: "other"}
	// The brokers the library knows of: an unreachable cluster looks like a topic that is missing. It never is one.
	notFound = class{reason: "no_leader", outcome: elsewhere}
	// Nothing was sent.
	unreachable = class{reason: "disconnected", outcome: elsewhere}
)

// reasons are all values of the label "reason".
func reasons() map[string]bool {
	all := map[string]bool{reasonTopic: true}
	for _, c := range codes {
		all[c.reason] = true
	}
	for _, c := range []class{disconnected, timedOut, tlsFailed, unclassified, notFound, unreachable} {
		all[c.reason] = true
	}
	delete(all, "")
	return all
}

// reasonTopic is the reason of a topic whose settings break what the sink promises.
const reasonTopic = "topic_mismatch"

// classify says what an error of the library means, a broker's answer or not.
func classify(err error) class {
	var (
		code    kafkago.Error
		op      *net.OpError
		record  tls.RecordHeaderError
		invalid *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &code):
		if c, ok := codes[code]; ok {
			return c
		}
		return unclassified
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition), errors.Is(err, protocol.ErrNoLeader):
		return notFound
	case errors.Is(err, errNoTLS):
		return noTLS
	case errors.As(err, &record), errors.As(err, &invalid), isCertificate(err), isAlert(err), strings.Contains(err.Error(), "appears to be expecting TLS"):
		return tlsFailed
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, syscall.ECONNREFUSED):
		return unreachable
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return timedOut
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &op):
		return disconnected
	}
	return unclassified
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// isAlert reports whether the other side has ended the connection with a TLS alert; crypto/tls has no exported type for it.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func isCertificate(err error) bool {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// troubles reports whether something is wrong with the partition, and not with the batch alone.
func (c class) troubles() bool {
	switch c.outcome {
	case again, elsewhere, waiting, recode:
		return true
	}
	return false
}

// momentary reports whether brokers have answered, and may answer otherwise soon without anybody's doing.
func (c class) momentary() bool {
	return (c.outcome == elsewhere || c.outcome == waiting) && c != unreachable
}

// tell is err with its reason, and with what the operator should do. need is what the user must have been allowed to do.
func (c class) tell(doing string, need access, err error) error {
	var (
		own  refused
		code kafkago.Error
	)
	if c.reason == "authentication" && !errors.As(err, &own) && errors.As(err, &code) {
		err = code // without the broker's words
	}
	switch c.advice {
	case "":
		return retry.Reasonf(c.reason, "%s: %w", doing, err)
	case grant:
		return retry.Reasonf(c.reason, "%s: %w: grant the bridge's Kafka user the right %s on the topic %s: kafka-acls.sh --bootstrap-server HOST:PORT --add --allow-principal User:NAME --operation %s --topic %s",
			doing, err, need.right, need.topic, need.right, need.topic)
	}
	return retry.Reasonf(c.reason, "%s: %w: %s", doing, err, c.advice)
}

// mark is what the publisher is told of a batch. bad are the indices of the records that the broker named.
func (c class) mark(err error, b *sink.Batch, bad []int) error {
	switch c.outcome {
	case stored:
		return nil
	case unsure, fenced:
		return errors.Join(sink.ErrUnsure, err)
	case tooLarge:
		return &sink.Rejected{Err: err}
	case rejected:
		var pos []spool.Pos
		for _, i := range bad {
			if i < len(b.Records) {
				pos = append(pos, b.Records[i].Pos)
			}
		}
		return &sink.Rejected{Pos: pos, Err: err}
	}
	if c.wait > 0 {
		return retry.After(err, c.wait)
	}
	return err
}

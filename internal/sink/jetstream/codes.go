package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// class is what an error of the JetStream API means for the event and for the sink.
type class struct {
	reason   string
	rejected bool          // the server will never take this event
	check    bool          // the stream is not what it was: verify it before anything else is sent
	after    time.Duration // the server asked for less, or only an operator can help: not before
	passing  bool          // this event alone, and only for a moment: nothing is wrong with the stream
	advice   string        // what the operator should do, who alone can settle it
}

// codes classifies the answers to a publish by err_code (nats-server, server/errors.json). A code that is not here is worth retrying.
var codes = map[int]class{
	10054: {reason: "too_large", rejected: true},         // message size exceeds maximum allowed
	10097: {reason: "headers_too_large", rejected: true}, // header size exceeds maximum allowed of 64k

	10002: {reason: "no_resources", after: time.Second}, // resource limits exceeded for account
	10023: {reason: "no_resources", after: time.Second}, // insufficient resources
	10028: {reason: "no_resources", after: time.Second}, // insufficient memory resources available
	10047: {reason: "no_resources", after: time.Second}, // insufficient storage resources available
	10077: {reason: "stream_full", after: time.Second},  // store failed: maximum messages or bytes exceeded (discard new), disk errors
	10122: {reason: "stream_full", after: time.Second},  // stream max bytes exceeds account limit
	10167: {reason: "too_many_requests", after: 100 * time.Millisecond},

	10008: {reason: "unavailable"},                         // JetStream system temporarily unavailable
	10009: {reason: "unavailable"},                         // cluster can not handle request
	10158: {reason: "duplicate_in_process", passing: true}, // the first copy is still being replicated
	10118: {reason: "offline", check: true},                // stream is offline
	10194: {reason: "offline", check: true},                // stream is offline, with a reason
	10039: {reason: "no_jetstream", check: true},           // not enabled for account
	10076: {reason: "no_jetstream", check: true},           // not enabled
	10109: {reason: "sealed", check: true},                 // invalid operation on sealed stream
	10060: {reason: "wrong_stream", check: true},           // expected stream does not match: another stream has our subjects now
}

// streamCodes classifies, beside codes, the answers to a look-up and to a creation of the stream.
var streamCodes = map[int]class{
	10005: {reason: "no_resources"}, // no suitable peers for placement
	10027: {reason: "no_resources"}, // maximum number of streams reached
	10065: { // subjects overlap with an existing stream
		reason: "stream_mismatch", advice: "no two streams may have a subject in common: name the stream that has them (nats stream ls --subject tells which), " +
			"take them from it, or change the subject template",
	},
	10074: {reason: "stream_mismatch", advice: "a server without a cluster has no replicas: set replicas: 1"}, // replicas > 1 not supported in non-clustered mode
}

// Errors that do not come as an err_code.
var (
	noResponders = class{reason: "no_stream", check: true} // NATS status 503: no stream listens on the subject, or it has no leader
	unclassified = class{reason: "other"}
)

// reasons are all values of the label "reason".
func reasons() map[string]bool {
	all := map[string]bool{
		noResponders.reason: true, unclassified.reason: true, "timeout": true, "disconnected": true, "permission": true, "bad_answer": true,
	}
	for _, c := range codes {
		all[c.reason] = true
	}
	return all
}

// answered is the error to report for an API error answered to a publish of r.
func answered(a *answer, r *spool.Record) (class, error) {
	c, ok := codes[a.errCode]
	if !ok {
		c = unclassified
	}
	err := retry.Reasonf(c.reason, "publish: server answered %d (%d): %s", a.code, a.errCode, a.description)
	return c, c.mark(err, r)
}

// notDone is the error for a request about the stream. A permanent one tells the operator what to do.
func notDone(doing string, err error) error {
	var api jetstream.JetStreamError
	switch {
	case errors.As(err, &api) && api.APIError() != nil:
		code := int(api.APIError().ErrorCode)
		c, ok := streamCodes[code]
		if !ok {
			c, ok = codes[code]
		}
		if !ok {
			c = unclassified
		}
		if c.advice != "" {
			return retry.Permanent(retry.Reasonf(c.reason, "%s: %w: %s", doing, err, c.advice))
		}
		return retry.Reasonf(c.reason, "%s: %w", doing, err)
	case errors.Is(err, context.DeadlineExceeded):
		return retry.Reasonf("timeout", "%s: no answer from the NATS server: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// refuses reports whether the server takes nothing for now, as far as this answer tells; what is to be checked is told by the check.
func (c class) refuses() bool { return !c.rejected && !c.check && !c.passing }

func (c class) mark(err error, r *spool.Record) error {
	switch {
	case c.rejected:
		return &sink.Rejected{Pos: []spool.Pos{r.Pos}, Err: err}
	case c.after > 0:
		return retry.After(err, c.after)
	}
	return err
}

// refusedLocally is the error for a publish of r that the client library did not send.
func refusedLocally(err error, r *spool.Record) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return &sink.Rejected{Pos: []spool.Pos{r.Pos}, Err: retry.Reason(fmt.Errorf("publish: %w: raise max_payload on the server", err), "too_large")}
	case errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionClosed):
		return errDisconnected
	}
	return fmt.Errorf("publish: %w", err)
}

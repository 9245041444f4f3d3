package limit

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
)

// Subjects are what the stream must take: ev.<agent>.
const Subjects = "ev.>"

// stored is how an answer begins that is no refusal.
var stored = []byte(`{"stream":`)

// stream is NATS JetStream.
type stream struct {
	nc    *nats.Conn
	out   *window
	inbox string
	stop  func() bool
}

func openNATS(ctx context.Context, o Options, fail context.CancelCauseFunc) (broker, error) {
	s := &stream{out: newWindow(new(jetstream.Sink).Limits().InFlight)}
	var err error
	s.nc, err = nats.Connect(o.NATS, nats.Name("limit"), nats.NoReconnect(), nats.SkipSubjectValidation(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fail(err) }))
	if err != nil {
		return nil, err
	}
	s.inbox = s.nc.NewInbox() + "."
	answers, err := s.nc.Subscribe(s.inbox+"*", func(m *nats.Msg) {
		if !bytes.HasPrefix(m.Data, stored) {
			fail(fmt.Errorf("the stream answers: %s %s", m.Data, m.Header.Get("Status")))
		}
		s.out.give()
	})
	if err == nil { // answers are small and the window bounds them: without limits none is ever dropped
		err = answers.SetPendingLimits(-1, -1)
	}
	if err != nil {
		s.nc.Close()
		return nil, err
	}
	s.stop = context.AfterFunc(ctx, s.out.close)
	return s, nil
}

func (s *stream) close() {
	s.stop()
	s.nc.Close()
}

// agent reuses all it can: the client library copies a message when it is published.
func (s *stream) agent(number uint32) func(id, frame []byte) error {
	reply := fmt.Appendf(nil, "%s%d-", s.inbox, number)
	prefix, seq := len(reply), uint64(0)
	text := make([]string, 1)
	msg := nats.Msg{Subject: fmt.Sprintf("ev.%08x", number), Header: nats.Header{nats.MsgIdHdr: text}}
	return func(id, frame []byte) error {
		seq++
		reply = strconv.AppendUint(reply[:prefix], seq, 10)
		text[0], msg.Reply, msg.Data = string(id), string(reply), frame
		if !s.out.take() {
			return errClosed
		}
		return s.nc.PublishMsg(&msg)
	}
}

// Package limit is the least that a program can do to bring what the sockets tell into a stream: it reads frames with gorilla/websocket and publishes
// them as they are, with a message id, to NATS JetStream, on one connection, with as many unanswered as the bridge's sink has. It parses nothing, keeps
// nothing, counts nothing and survives nothing. How far the bridge is from it is the price of what the bridge does.
package limit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"github.com/taskbridge/taskbridge/bench/wire"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
)

// Subjects are what the stream must take: ev.<agent>.
const Subjects = "ev.>"

// Options say where everything is.
type Options struct {
	// Sockets is the URL of the generator's sockets, ws://…/ws, to which the worker is added.
	Sockets string
	// Agents are dialled: 0, 1, 2 and so on.
	Agents int
	// NATS is the broker's URL. Its stream for [Subjects] exists.
	NATS string
}

// Run dials, and publishes until ctx ends or something fails.
func Run(ctx context.Context, o Options) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	out := newWindow(new(jetstream.Sink).Limits().InFlight)
	defer context.AfterFunc(ctx, out.close)()
	nc, err := nats.Connect(o.NATS, nats.Name("limit"), nats.NoReconnect(), nats.SkipSubjectValidation(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fail(err) }))
	if err != nil {
		return err
	}
	defer nc.Close()
	inbox := nc.NewInbox() + "."
	answers, err := nc.Subscribe(inbox+"*", func(m *nats.Msg) {
		if !bytes.HasPrefix(m.Data, stored) {
			fail(fmt.Errorf("the stream answers: %s %s", m.Data, m.Header.Get("Status")))
		}
		out.give()
	})
	if err != nil {
		return err
	}
	// Answers are small and the window bounds them: without limits none is ever dropped.
	if err := answers.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	dialer := websocket.Dialer{ReadBufferSize: 16 << 10} // as much in one system call as the bridge reads
	var readers sync.WaitGroup
	defer readers.Wait()
	for agent := range uint32(o.Agents) {
		conn, resp, err := dialer.DialContext(ctx, o.Sockets+"?worker="+wire.Worker(agent), nil)
		if err != nil {
			return errors.Join(fmt.Errorf("dial: %w", err), context.Cause(ctx))
		}
		_ = resp.Body.Close() // empty
		closer := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer closer()
		readers.Go(func() {
			p := publisher{nc: nc, out: out, subject: fmt.Sprintf("ev.%08x", agent), reply: fmt.Appendf(nil, "%s%d-", inbox, agent)}
			fail(fmt.Errorf("agent %d: %w", agent, p.forward(conn)))
		})
	}
	defer fail(nil) // before the readers are waited for
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

var errClosed = errors.New("the program ends")

// stored is how an answer begins that is no refusal.
var stored = []byte(`{"stream":`)

// publisher publishes what one socket tells. It reuses all it can: the client library copies a message when it is published.
type publisher struct {
	nc      *nats.Conn
	out     *window
	subject string
	reply   []byte
	seq     uint64
	frame   bytes.Buffer
	id      []byte
}

// forward reads until the socket ends, and says why it did.
func (p *publisher) forward(conn *websocket.Conn) error {
	prefix := len(p.reply)
	id := make([]string, 1)
	msg := nats.Msg{Subject: p.subject, Header: nats.Header{nats.MsgIdHdr: id}}
	for {
		_, r, err := conn.NextReader()
		if err != nil {
			return err
		}
		p.frame.Reset()
		if _, err := io.Copy(&p.frame, r); err != nil {
			return err
		}
		var ok bool
		if p.id, ok = wire.AppendIdentity(p.id[:0], p.frame.Bytes()); !ok {
			continue // init, or a heartbeat
		}
		p.seq++
		p.reply = strconv.AppendUint(p.reply[:prefix], p.seq, 10)
		id[0], msg.Reply, msg.Data = string(p.id), string(p.reply), p.frame.Bytes()
		if !p.out.take() {
			return errClosed
		}
		if err := p.nc.PublishMsg(&msg); err != nil {
			return err
		}
	}
}

// Package limit is the least that a program can do to bring what the sockets tell to a broker: it reads frames with gorilla/websocket and publishes them as
// they are, with an id. To NATS JetStream on one connection, with as many unanswered as the bridge's sink has; to Kafka as an idempotent producer, acks=all,
// with one batch out for each partition. It parses nothing, keeps nothing, counts nothing and survives nothing. How far the bridge is from it is the price of
// what the bridge does.
package limit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/taskbridge/taskbridge/bench/wire"
)

// Options say where everything is.
type Options struct {
	// Sockets is the URL of the generator's sockets, ws://…/ws, to which the worker is added.
	Sockets string
	// Agents are dialled: 0, 1, 2 and so on.
	Agents int
	// NATS is the broker's URL. Its stream for [Subjects] exists. Empty: Kafka it is.
	NATS string
	// Kafka are brokers, host:port, and Topic is the topic, which exists.
	Kafka []string
	Topic string
}

// broker is where frames go.
type broker interface {
	// agent is how one agent's frames get there. The function may wait for room; it may not keep what it is given. Different agents' are called at the same time.
	agent(number uint32) func(id, frame []byte) error
	close()
}

var errClosed = errors.New("the program ends")

// Run dials, and publishes until ctx ends or something fails.
func Run(ctx context.Context, o Options) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	open := openNATS
	if o.NATS == "" {
		open = openKafka
	}
	b, err := open(ctx, o, fail)
	if err != nil {
		return err
	}
	defer b.close()
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
		readers.Go(func() { fail(fmt.Errorf("agent %d: %w", agent, forward(conn, b.agent(agent)))) })
	}
	defer fail(nil) // before the readers are waited for
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// forward publishes what one socket tells until that ends, and says why it did.
func forward(conn *websocket.Conn, publish func(id, frame []byte) error) error {
	var frame bytes.Buffer
	var id []byte
	for {
		_, r, err := conn.NextReader()
		if err != nil {
			return err
		}
		frame.Reset()
		if _, err := io.Copy(&frame, r); err != nil {
			return err
		}
		var ok bool
		if id, ok = wire.AppendIdentity(id[:0], frame.Bytes()); !ok {
			continue // init, or a heartbeat
		}
		if err := publish(id, frame.Bytes()); err != nil {
			return err
		}
	}
}

package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Start is where [Follow] begins in the stream; the zero value is after its end: what comes from now on.
type Start struct {
	Oldest bool      // at the oldest event that the stream holds
	Since  time.Time // at the first event stored then or later
}

// Stored is a message of the stream. Body is the event in CloudEvents structured mode, whatever mode it is stored in; a message that is no
// event comes as it is.
type Stored struct {
	Subject string
	Body    []byte
}

// Follow reads the stream that cfg names and hands over each message once and in order, until ctx ends (the error is nil then), take fails, or
// the stream cannot be read, as when it was deleted meanwhile. It stores nothing on the server but an ephemeral consumer, acknowledges nothing and changes nothing. After a
// loss of the connection it goes on where it was. cfg is valid, with a URL.
//
// The user needs these permissions: publish to $JS.API.STREAM.INFO.<stream>, $JS.API.CONSUMER.CREATE.<stream>.>,
// .CONSUMER.DELETE.<stream>.> and .CONSUMER.MSG.NEXT.<stream>.>; subscribe to <inbox_prefix>.>.
func Follow(ctx context.Context, cfg Config, from Start, log *zap.Logger, take func(Stored) error) error {
	options, err := cfg.options(func(err error) { log.Warn("NATS credentials cannot be read", zap.Error(err)) })
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	options.AllowReconnect, options.MaxReconnect = true, -1
	options.DisconnectedErrCB = func(_ *nats.Conn, err error) {
		if err != nil { // nil: we closed it
			log.Warn("NATS connection lost, will reconnect", zap.Error(err))
		}
	}
	options.ReconnectedCB = func(*nats.Conn) { log.Info("NATS connected again") }
	options.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS reports an error", zap.Error(err)) }
	ended := make(chan struct{})
	options.ClosedCB = func(*nats.Conn) { close(ended) }
	conn, err := options.Connect()
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer func() {
		conn.Close()
		<-ended
	}()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	stream, consumer, err := newConsumer(ctx, js, cfg.Stream, from)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { watchStream(ctx, stream, cancel) })
	defer watch.Wait()
	defer cancel(nil)
	defer func() { // without it the server would keep the consumer until its InactiveThreshold
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		err := js.DeleteConsumer(ctx, cfg.Stream, consumer.CachedInfo().Name)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			log.Info("the ephemeral consumer is left to the server to remove", zap.Error(err))
		}
	}()
	log.Info("following the stream", zap.String("stream", cfg.Stream), zap.String("server", conn.ConnectedUrlRedacted()))
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", cfg.Stream, err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next()
		switch {
		case errors.Is(context.Cause(ctx), errStreamGone):
			return fmt.Errorf("stream %s: %w", cfg.Stream, errStreamGone)
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read stream %s: %w", cfg.Stream, err)
		}
		if err := take(Stored{Subject: m.Subject(), Body: structured(m.Headers(), m.Data())}); err != nil {
			return err
		}
	}
}

// watchEvery is how often a reader looks whether its stream is still there.
const watchEvery = 2 * time.Second

var errStreamGone = errors.New("it was deleted while it was read: begin again when a bridge has created it")

// watchStream ends the reading when the stream is gone, until ctx ends. The client library would try for ever to make another consumer, and in a
// stream that was created anew it would wait for the old one's next sequence.
func watchStream(ctx context.Context, stream jetstream.Stream, end context.CancelCauseFunc) {
	created := stream.CachedInfo().Created
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		request, cancel := context.WithTimeout(ctx, requestTimeout)
		info, err := stream.Info(request)
		cancel()
		if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && !info.Created.Equal(created) {
			end(errStreamGone)
		}
	}
}

func newConsumer(ctx context.Context, js jetstream.JetStream, name string, from Start) (jetstream.Stream, jetstream.Consumer, error) {
	c := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy, InactiveThreshold: time.Minute}
	switch {
	case from.Oldest:
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	case !from.Since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.Since
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil, fmt.Errorf("stream %s does not exist on this server: a bridge creates it at its first connection", name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	consumer, err := stream.OrderedConsumer(ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	return stream, consumer, nil
}

// structured is the message as an event in structured mode. In binary mode its attributes are headers.
func structured(header nats.Header, data []byte) []byte {
	if strings.HasPrefix(header.Get(headerContentType), structuredContentType) || header.Get(attributePrefix+"id") == "" || !json.Valid(data) {
		return data
	}
	b := bytes.NewBufferString("{")
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if attribute, ok := strings.CutPrefix(name, attributePrefix); ok {
			key, _ := json.Marshal(attribute) // text always has a JSON form
			value, _ := json.Marshal(unescapeHeader(header.Get(name)))
			fmt.Fprintf(b, "%s:%s,", key, value)
		}
	}
	fmt.Fprintf(b, `"data":%s}`, data)
	return b.Bytes()
}

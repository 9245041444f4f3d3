package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/trial"
)

// Answers of a name server (RFC 1035, section 4.1.1).
const (
	noError       = 0
	serverFailure = 2
	noSuchName    = 3
)

// TestNames: the vendor's name resolves no more. In this process, because it replaces the resolver, which no setting of a program can; so not parallel.
func TestNames(t *testing.T) {
	for name, code := range map[string]int32{"no such name": noSuchName, "server failure": serverFailure} {
		t.Run(name, func(t *testing.T) {
			long(t)
			const agents = 10
			answer := resolve(t)
			core, logs := observer.New(zap.InfoLevel)
			tr := start(t, trial.Options{Agents: agents, Rate: 100, Duration: 3 * time.Second, TokenLifetime: time.Hour, Host: vendorName}, core)
			emit(t, tr, 150)
			earlier := sum(tr.Observed().Dials)
			answer.Store(code)
			if err := tr.Disturb(simulator.Fault{Kind: "reset"}, 0); err != nil {
				t.Fatal(err)
			}
			unresolved := func() int {
				return logs.FilterMessage("session ended").FilterField(zap.String("reason", "dns")).Len()
			}
			until(t, "every agent was tried twice, in vain for want of an address", func() bool { return unresolved() >= 2*agents })
			if p := tr.Progress(); p.Live != 0 || p.OpenGaps != agents || sum(tr.Observed().Dials) != earlier {
				t.Errorf("got %d live sessions, %d open gaps and %d dials at the vendor, want none but a gap for each of %d agents",
					p.Live, p.OpenGaps, sum(tr.Observed().Dials)-earlier, agents)
			}
			answer.Store(noError)
			until(t, "every session is live again", func() bool { p := tr.Progress(); return p.Live == agents && p.OpenGaps == 0 })
			emit(t, tr, 150)
			all, err := tr.Verdict(t.Context())
			v := all[trial.NATS]
			t.Logf("%+v", v)
			if err != nil {
				t.Error(err)
			}
			if v.Gaps != agents {
				t.Errorf("got %d gaps, want one of each of %d agents", v.Gaps, agents)
			}
		})
	}
}

// resolve makes this process ask a name server of its own until the test ends: every name is 127.0.0.1 while the answer is noError.
func resolve(t *testing.T) (answer *atomic.Int32) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer, ended := new(atomic.Int32), make(chan struct{})
	go func() {
		defer close(ended)
		for query := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(respond(query[:n], byte(answer.Load())), from)
		}
	}()
	usual := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = usual
		_ = conn.Close()
		<-ended
	})
	return answer
}

// respond answers a query of one question (RFC 1035, section 4): with an address if that is what is asked for.
func respond(query []byte, code byte) []byte {
	const header = 12
	end := header + bytes.IndexByte(query[header:], 0) + 1 // of the name
	question := query[header : end+4]
	response := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	if kind := binary.BigEndian.Uint16(query[end:]); kind == 1 && code == noError { // A
		response[7] = 1
		response = append(response, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return response
}

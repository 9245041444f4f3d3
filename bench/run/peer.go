package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/verify"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// thePeer is Redpanda Connect, set up to do as much of the same as it can: an input per socket, the envelope by a mapping, a message id. Its order is
// not kept (that would be threads: 1 and max_in_flight: 1, at a fraction of the speed), so its breaks of order are counted and no failure.
type thePeer struct{ path string }

func (p thePeer) name() string           { return "peer" }
func (p thePeer) stream() (string, bool) { return "EV", false }
func (p thePeer) promises() verify.Order { return verify.Unordered }

func (p thePeer) command(s *stage) (process.Command, error) {
	server, ok := s.broker.(*natsServer)
	if !ok {
		return process.Command{}, errors.New("the peer is set up for NATS only")
	}
	file := filepath.Join(s.dir, "peer.yaml")
	if err := os.WriteFile(file, []byte(peerConfig(sockets(s), server.url, s.agents)), 0o600); err != nil {
		return process.Command{}, err
	}
	return process.Command{Path: p.path, Args: []string{"run", file}}, nil
}

func (p thePeer) trouble(context.Context) string { return "" }

// live: who has a socket reads it.
func (p thePeer) live(context.Context, *stage) (bool, error) { return true, nil }

// peerConfig has an input for each socket; its default HTTP listener would be open to the network. What is no reservation event
// (init, heartbeats) is dropped. The settings are those of the measurement that the design rests on; no official build has run with these frames.
func peerConfig(sockets, nats string, agents int) string {
	var inputs strings.Builder
	for agent := range uint32(agents) {
		fmt.Fprintf(&inputs, "      - websocket: {url: '%s?worker=%s'}\n", sockets, wire.Worker(agent))
	}
	return `http: {enabled: false}
logger: {level: WARN}
metrics: {none: {}}
tracer: {none: {}}
input:
  broker:
    inputs:
` + inputs.String() + `pipeline:
  threads: -1
  processors:
    - mapping: |
        root = if !content().string().has_prefix("{\"event_type\":\"reservation.") { deleted() }
    - mapping: |
        let r = this.payload
        let verb = match this.event_type {
          "reservation.wrapup" => "wrapping",
          _ => this.replace_all("reservation.", ""),
        }
        root.specversion = "1.0"
        root.id = $r.sid + ":" + $verb
        root.source = "/twilio/taskrouter/" + $r.account_sid + "/" + $r.workspace_sid
        root.type = "reservation." + $verb
        root.subject = $r.sid
        root.time = $r.date_updated
        root.agent.id = $r.worker_sid
        root.agent.name = $r.worker_name
        root.reservation.status = $r.reservation_status
        root.reservation.createdAt = $r.date_created
        root.task.id = $r.task.sid
        root.task.channel = $r.task.task_channel_unique_name
        root.task.queue = $r.task.queue_sid
        root.data = this
        meta agent = $r.worker_sid
        meta id = $r.sid + ":" + $verb
output:
  nats_jetstream:
    urls: ['` + nats + `']
    subject: 'ev.${! @agent }'
    headers: {Nats-Msg-Id: '${! @id }'}
    max_in_flight: 1024
`
}

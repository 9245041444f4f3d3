package main

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/roster"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
)

// broker is a sink with what the program does with it beside publishing.
type broker interface {
	sink.Sink
	Connect(ctx context.Context) // begins, and never gives up until Close
	Ready() error                // why nothing is delivered at present; nil: it is
}

// sources makes every source with the mapper of its dialect, and its roster. Nothing is dialled.
func (c *configuration) sources(log *zap.Logger, reg prometheus.Registerer) (map[string]bridge.Feed, *rosters, error) {
	policy, err := c.Privacy.policy()
	if err != nil {
		return nil, nil, fmt.Errorf("privacy: %w", err)
	}
	requests := taskrouter.NewMetrics(reg)
	feeds := map[string]bridge.Feed{}
	all := &rosters{log: log, metrics: roster.NewMetrics(reg)}
	for _, s := range c.Sources {
		log := log.Named(s.Name)
		switch {
		case s.TaskRouter != nil:
			agents := &s.TaskRouter.Agents
			src, err := taskrouter.New(s.TaskRouter.Config, log, requests)
			var read roster.Read
			switch {
			case err != nil:
			case agents.Listed():
				read, err = src.Workers(agents.Expression)
			case agents.File != "":
				read = roster.File(agents.File, taskrouter.WorkerSID, taskrouter.WorkerSIDForm)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
			}
			part := &rosterPart{agent: s.TaskRouter.Agent(""), list: agents.IDs}
			part.agent.Source = s.Name
			if read != nil {
				part.watch = roster.NewWatch(s.Name, read, agents.Every(), log, all.metrics)
			}
			all.parts = append(all.parts, part)
			feeds[s.Name] = bridge.Feed{Source: src, Mapper: mapping.NewTaskRouter(policy)}
		}
	}
	return feeds, all, nil
}

// sinks makes every sink; Connect is left to the caller. servers are the embedded ones, by sink.
func (c *configuration) sinks(servers map[string]*embedded.Server, log *zap.Logger, reg prometheus.Registerer) (map[string]broker, error) {
	brokers := map[string]broker{}
	for _, s := range c.Sinks {
		log, reg := log.Named(s.Name), prometheus.WrapRegistererWith(prometheus.Labels{"sink": s.Name}, reg)
		switch {
		case s.NATS != nil:
			nats := *s.NATS
			if server := servers[s.Name]; server != nil {
				nats.URL, nats.Embedded = server.URL(), nil
			}
			b, err := jetstream.New(nats, log, reg)
			if err != nil {
				return nil, fmt.Errorf("sink %s: %w", s.Name, err)
			}
			brokers[s.Name] = b
		case s.Kafka != nil:
			for _, text := range s.Kafka.ClearText() {
				log.Warn(text)
			}
			b, err := kafka.New(*s.Kafka, c.origins(), log, reg)
			if err != nil {
				return nil, fmt.Errorf("sink %s: %w", s.Name, err)
			}
			brokers[s.Name] = b
		}
	}
	return brokers, nil
}

// origins are the accounts of all sources.
func (c *configuration) origins() []kafka.Origin {
	var all []kafka.Origin
	for _, s := range c.Sources {
		if s.TaskRouter != nil {
			all = append(all, kafka.Origin{Provider: event.Twilio, Account: s.TaskRouter.Account})
		}
	}
	return all
}

// asSinks is what the bridge knows of the brokers.
func asSinks(brokers map[string]broker) map[string]sink.Sink {
	sinks := map[string]sink.Sink{}
	for name, b := range brokers {
		sinks[name] = b
	}
	return sinks
}

// servers starts the brokers that run in this process. stop ends them and returns when their files are closed; it is never nil.
func (c *configuration) servers(log *zap.Logger) (servers map[string]*embedded.Server, stop func(), err error) {
	servers = map[string]*embedded.Server{}
	stop = func() {
		for _, server := range servers {
			server.Shutdown()
		}
	}
	for _, s := range c.Sinks {
		if s.NATS == nil || s.NATS.Embedded == nil {
			continue
		}
		log := log.Named(s.Name)
		server, err := embedded.Start(string(s.NATS.Embedded.Dir), s.NATS.Embedded.Port, log)
		if err != nil {
			return servers, stop, fmt.Errorf("sink %s: %w", s.Name, err)
		}
		log.Warn("the broker runs in this process: for evaluation only, its events are on this disk alone",
			zap.String("dir", string(s.NATS.Embedded.Dir)), zap.String("url", server.URL()))
		servers[s.Name] = server
	}
	return servers, stop, nil
}

// check makes the source and throws it away: that reads its secrets.
func (s *sourceConfig) check() error {
	_, err := taskrouter.New(s.TaskRouter.Config, zap.NewNop(), nil)
	return err
}

// check makes the sink and throws it away. An embedded broker has nothing to read.
func (s *sinkConfig) check() error {
	var err error
	switch {
	case s.Kafka != nil:
		_, err = kafka.New(*s.Kafka, nil, zap.NewNop(), prometheus.NewRegistry())
	case s.NATS.Embedded == nil:
		_, err = jetstream.New(*s.NATS, zap.NewNop(), prometheus.NewRegistry())
	}
	return err
}

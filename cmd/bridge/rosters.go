package main

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/roster"
	"github.com/taskbridge/taskbridge/internal/source"
)

// rosters joins the sources' rosters to the one that the bridge takes. Each source has a part of its own: what one of them changes, or fails to
// read, leaves the agents of the others alone.
type rosters struct {
	log     *zap.Logger
	metrics *roster.Metrics
	set     func(map[string][]source.Agent) error // takes the agents of every source whose roster is known, each agent once

	mu     sync.Mutex
	parts  []*rosterPart // in the configuration's order
	shared int           // agents on more than one part
}

// rosterPart is the roster of one source.
type rosterPart struct {
	agent source.Agent  // an agent of the source but for her id: what is the same for all is in memory once
	list  []string      // in the configuration; nil when there is a watch
	watch *roster.Watch // nil when there is a list
	known bool          // who the agents are has been told once
	ids   []string      // of the agents
}

// begin tells the lists in the configuration to set, and everything that follows.
func (r *rosters) begin(set func(map[string][]source.Agent) error) {
	r.set = set
	for _, p := range r.parts {
		if p.watch == nil {
			r.tell(p, p.list)
		}
	}
}

// run follows the rosters that can change until ctx ends; when it returns, none will any more.
func (r *rosters) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range r.parts {
		if p.watch != nil {
			wg.Go(func() { p.watch.Run(ctx, func(ids []string) { r.tell(p, ids) }) })
		}
	}
	<-ctx.Done()
	wg.Wait()
}

// tell makes the part's agents those with the given ids. An agent on several parts is served by the first of them, and by the next when that
// one drops her: to the bridge she then leaves and comes.
func (r *rosters) tell(p *rosterPart, ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.known, p.ids = true, ids
	r.metrics.Agents(p.agent.Source, len(ids))
	all := map[string][]source.Agent{}
	taken := map[string]bool{}
	shared := 0
	for _, p := range r.parts {
		if !p.known {
			continue
		}
		part := make([]source.Agent, 0, len(p.ids))
		for _, id := range p.ids {
			if taken[id] {
				shared++
				continue
			}
			taken[id] = true
			a := p.agent
			a.ID = id
			part = append(part, a)
		}
		all[p.agent.Source] = part
	}
	if shared != r.shared && shared > 0 {
		r.log.Warn("agents are on the rosters of several sources: the first one serves them", zap.Int("agents", shared))
	}
	r.shared = shared
	if err := r.set(all); err != nil {
		r.log.Error("the roster is not taken", zap.Error(err))
	}
}

// state counts the sources whose roster was never read, and those where reading it failed last; agents is how many there are in all.
func (r *rosters) state() (unknown, failing, agents int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.parts {
		agents += len(p.ids)
		switch {
		case !p.known:
			unknown++
		case p.watch != nil && p.watch.Failing() != nil:
			failing++
		}
	}
	return unknown, failing, agents
}

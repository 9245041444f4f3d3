package bridge

import (
	"bytes"
	"cmp"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// identity is what a record tells of whose it is. Which source serves her, by its configured name, no record knows.
type identity struct{ id, uri string }

// A checkpoint is a stream of gob values: the version, what is remembered of tasks, and agents to the end. Members may be added and are never renamed; what
// older versions cannot read in spite of that is a new version.
const checkpointVersion = 2 // 1 had ids as texts

type savedTasks struct {
	Pos spool.Pos // of the last event among them
	IDs mapping.Told
}

type savedAgent struct {
	Pos  spool.Pos // of her last event
	Down event.SessionState
	View mapping.SavedView
}

// save writes a checkpoint, agent by agent, while events are appended: each part has the position of its last event, and the log gives Recover
// everything that came after save began.
func (f *fleet) save(w io.Writer) error {
	f.mu.Lock()
	agents := make([]*agent, 0, len(f.order)+len(f.recovered))
	for _, m := range f.order {
		agents = append(agents, m.agent)
	}
	agents = slices.AppendSeq(agents, maps.Values(f.recovered))
	f.mu.Unlock()

	f.shared.mu.Lock()
	tasks := savedTasks{Pos: f.shared.pos, IDs: f.shared.ids.Clone()}
	f.shared.mu.Unlock()
	var b bytes.Buffer // so that no agent waits for w
	to := gob.NewEncoder(&b)
	if err := errors.Join(to.Encode(checkpointVersion), to.Encode(tasks)); err != nil {
		return err
	}
	for _, a := range agents {
		if err := a.save(to); err != nil {
			return fmt.Errorf("agent %s: %w", a.ID, err)
		}
		if _, err := b.WriteTo(w); err != nil {
			return err
		}
	}
	_, err := b.WriteTo(w)
	return err
}

// save writes nothing of an agent of whom nothing was told, or that she was removed.
func (a *agent) save(to *gob.Encoder) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pos == 0 || a.removed {
		return nil
	}
	return to.Encode(savedAgent{Pos: a.pos, Down: a.down, View: a.view.Save()})
}

// load reads a checkpoint. When it fails, nothing of it stays.
func (f *fleet) load(r io.Reader) error {
	from := gob.NewDecoder(r)
	var version int
	var tasks savedTasks
	if err := from.Decode(&version); err != nil {
		return err
	}
	if version != checkpointVersion {
		return fmt.Errorf("checkpoint of version %d, want %d", version, checkpointVersion)
	}
	if err := from.Decode(&tasks); err != nil {
		return err
	}
	agents := map[identity]*agent{}
	for {
		var s savedAgent
		err := from.Decode(&s)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		a := newAgent(f.heart, s.View.View(), nil)
		a.pos, a.down = s.Pos, s.Down
		agents[identity{a.ID, a.URI}] = a
	}
	f.recovered = agents
	f.shared.pos, f.shared.ids = tasks.Pos, tasks.IDs
	return nil
}

// fold applies a record that is newer than what it is applied to.
func (f *fleet) fold(r *spool.Record) {
	e, err := (&event.Encoded{Header: r.Header, Data: r.Data}).Decode()
	if err != nil {
		f.logger.Error("a record of the log cannot be read: the view is without it", zap.String("id", r.Header.ID), zap.Error(err))
		return
	}
	if e.Type.Noun() == "task" && r.Pos > f.shared.pos {
		f.shared.add(e.ID, e.Recorded, r.Pos)
	}
	who := identity{r.Header.Agent, r.Header.Source}
	a := f.recovered[who]
	if who.id == "" || a != nil && r.Pos <= a.pos {
		return
	}
	if a == nil {
		a = newAgent(f.heart, mapping.NewView(source.Agent{
			ID: who.id, Provider: string(r.Header.Provider), URI: who.uri, Account: r.Header.Account, Site: e.Data.SiteID,
		}), nil)
		f.recovered[who] = a
	}
	a.apply(e, r.Pos)
	if a.removed { // who comes back is met anew
		delete(f.recovered, who)
	}
}

// recover brings back the views of the process before this one, and opens a gap for everybody whom it watched when it died. The log gets nothing
// before these gaps, and no alive note while one of them is owed.
func (f *fleet) recover() error {
	f.recovered = map[identity]*agent{}
	alive, err := f.log.Recover(f.load, f.fold)
	if err != nil {
		return fmt.Errorf("recover what was told: %w", err)
	}
	f.proof.noted = alive
	if alive.IsZero() { // never noted, which a log with sessions in it cannot be
		alive = f.started
	}
	gaps := 0
	for _, who := range f.strangers() {
		a := f.recovered[who]
		if a.view.Met && a.view.OpenGap(source.Live.String()) == nil {
			gaps++
			a.openGap(debt{feed: source.Live, from: alive, cause: event.CauseCrash, reason: "crash", incarnation: f.newIncarnation()})
		}
	}
	if len(f.recovered) > 0 {
		f.logger.Info("what was told before is known again", zap.Int("agents", len(f.recovered)), zap.Int("crash_gaps", gaps), zap.Time("alive", alive))
	}
	return nil
}

// adopt gives a recovered agent to the source that serves her now.
func (a *agent) adopt(as source.Agent, m mapping.Mapper) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.view.Agent, a.mapper = as, m
}

// disown removes the recovered agents who are on no roster any more: those of a source whose roster is known, and once every roster is, also those of
// whom nobody knows the source.
func (f *fleet) disown(rosters map[string][]source.Agent) {
	for _, who := range f.strangers() {
		a := f.recovered[who]
		_, configured := f.sources[a.Source]
		_, known := rosters[a.Source]
		if configured && !known || !configured && len(rosters) < len(f.sources) {
			continue
		}
		delete(f.recovered, who)
		if a.view.Met { // else nobody was told that she is watched
			f.order = append(f.order, &member{agent: a, leaving: true})
		}
	}
}

// strangers lists the recovered agents in an order that is the same in every run.
func (f *fleet) strangers() []identity {
	return slices.SortedFunc(maps.Keys(f.recovered), func(a, b identity) int {
		return cmp.Or(strings.Compare(a.id, b.id), strings.Compare(a.uri, b.uri))
	})
}

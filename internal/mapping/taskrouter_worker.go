package mapping

import (
	"fmt"
	"strconv"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping/document"
)

// worker tells a change of the agent's activity or attributes.
func (c *call) worker(t event.Type, o document.Value) reason {
	w := readWorker(o)
	if why := checkIDs(w.id); why != "" {
		return why
	}
	if w.id != c.view.Agent.ID {
		return otherAgent
	}
	var id string
	if t == event.AgentActivityChanged {
		// date_status_changed moves only with the activity, so this id is the same in every dialect and feed. Without it there is no id that
		// would be neither too coarse nor different the next time.
		if why := checkIDs(w.activityID); why != "" {
			return why
		}
		if w.since == 0 {
			return missingField
		}
		id = w.id + ":activity_changed:" + strconv.FormatInt(int64(w.since)/1000, 10) + ":" + w.activityID
	} else {
		stamp := versionOr(w.version, w.updated)
		if stamp == "" {
			return missingField
		}
		id = w.id + ":attributes_changed:" + stamp
	}
	if c.view.Told(id) {
		c.collided = t == event.AgentActivityChanged && !c.fromSnapshot() && w.returned(&c.view.Activity)
		return ""
	}
	before := &c.view.Activity
	if c.fromSnapshot() && w.since < before.Since {
		return "" // read before what the socket has already told
	}

	e := c.begin(id, t, w.id, w.id)
	e.Data.Revision = w.version
	e.agent = event.Agent{
		ID: w.id, Name: c.policy.agentName(w.name, c.view.Name), ActivityID: w.activityID, ActivityName: w.activityName, Available: w.available,
		ActivitySince: w.since, Attributes: c.policy.agentAttributes.read(w.attributes),
	}
	if t != event.AgentActivityChanged {
		e.at(w.updated)
	} else {
		e.at(w.since)
		// The vendor's message names only the new activity. Before a snapshot there may have been others than the last one told.
		if before.ID != "" && before.Since <= w.since && !c.fromSnapshot() {
			e.agent.PreviousActivityID, e.agent.PreviousActivityName = before.ID, before.Name
			e.agent.PreviousActivityMS = span(before.Since, w.since)
		}
	}
	c.raw(e, o)
	c.tell(e)
	return ""
}

// returned reports whether w is back in an activity that she left in this very second: the last one told is another, of the same second, and older.
// The vendor dates activities in seconds and every feed must make the same id of the same fact, so the two changes to this activity have one. Only a
// version proves it: without one w may as well be a repeat by another socket, of what came before the last one told. Snapshots show the same again
// and again, and are not asked.
func (w *workerObject) returned(last *Activity) bool {
	return last.ID != w.activityID && last.Since == w.since && older(last.Revision, w.version)
}

// channel tells the capacity and availability of one of the agent's channels. Two of the vendor's events become one type: both carry the whole
// channel, so two of one version say the same, and the second is a repeat.
func (c *call) channel(t event.Type, o document.Value) reason {
	ch := c.dialect.channel(o)
	if why := checkIDs(ch.id); why != "" {
		return why
	}
	if ch.worker != "" && ch.worker != c.view.Agent.ID {
		return otherAgent
	}
	stamp := versionOr(ch.version, ch.updated)
	if stamp == "" {
		return missingField
	}
	if !ch.version.OK { // a second may hold several changes
		stamp += ":" + known(ch.capacity) + ":" + known(ch.available) + ":" + known(ch.assigned) + ":" + known(ch.percent)
	}
	id := ch.id + ":capacity_changed:" + stamp
	if c.view.Told(id) {
		return ""
	}
	e := c.begin(id, t, ch.id, c.view.Agent.ID)
	e.Data.Revision = ch.version
	e.at(ch.updated)
	e.channel = event.Channel{
		ID: ch.id, Name: taskChannel(ch.name), NameRaw: ch.name, Capacity: ch.capacity, Available: ch.available, AssignedTasks: ch.assigned,
		AvailablePercent: ch.percent, UpdatedAt: ch.updated,
	}
	e.Data.Channel = &e.channel
	c.raw(e, o)
	c.tell(e)
	return ""
}

// versionOr is what makes the id of a change unique: the object's version, else the second it was updated in; empty where both are absent.
func versionOr(version event.Null[int64], updated event.Instant) string {
	switch {
	case version.OK:
		return strconv.FormatInt(version.V, 10)
	case updated != 0:
		return strconv.FormatInt(int64(updated)/1000, 10)
	}
	return ""
}

// known renders a value for an id; absent is empty, and so differs from false and 0.
func known[T int64 | float64 | bool](n event.Null[T]) string {
	if !n.OK {
		return ""
	}
	return fmt.Sprint(n.V)
}

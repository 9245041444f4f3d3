package mapping

import (
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

// SavedView is a view as a checkpoint keeps it, encoded by encoding/gob: members may be added, and are never renamed or given another type. It
// shares its maps with the view, whose owner encodes it before the view changes again.
type SavedView struct {
	Agent        source.Agent
	Name         string
	Met          bool
	Activity     Activity
	Reservations map[string]*Reservation
	Channels     map[string]Channel
	Gaps         []Gap
	LastGap      event.Instant
	Told         Told
}

// Save is the way into a checkpoint.
func (v *View) Save() SavedView {
	return SavedView{
		Agent: v.Agent, Name: v.Name, Met: v.Met, Activity: v.Activity, Reservations: v.Reservations, Channels: v.Channels, Gaps: v.Gaps,
		LastGap: v.LastGap, Told: v.told,
	}
}

// View is the way back; it keeps what s holds.
func (s *SavedView) View() *View {
	return &View{
		Agent: s.Agent, Name: s.Name, Met: s.Met, Activity: s.Activity, Reservations: s.Reservations, Channels: s.Channels, Gaps: s.Gaps,
		LastGap: s.LastGap, told: s.Told,
	}
}

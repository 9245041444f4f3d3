package event

import "slices"

// Clone is a copy of e that shares nothing with it that can be written: for who keeps an event longer than it was lent.
func (e *Event) Clone() *Event {
	out := *e
	d := &out.Data
	d.Agent, d.Task, d.Reservation, d.Timing, d.Transfer = clone(d.Agent), clone(d.Task), clone(d.Reservation), clone(d.Timing), clone(d.Transfer)
	d.Channel, d.Session, d.Gap, d.Unmapped = clone(d.Channel), clone(d.Session), clone(d.Gap), clone(d.Unmapped)
	d.Raw = slices.Clone(d.Raw)
	if d.Agent != nil {
		d.Agent.Attributes = slices.Clone(d.Agent.Attributes)
	}
	if d.Task != nil {
		d.Task.Attributes = slices.Clone(d.Task.Attributes)
	}
	if d.Unmapped != nil {
		d.Unmapped.Keys = slices.Clone(d.Unmapped.Keys)
	}
	return &out
}

func clone[Block any](b *Block) *Block {
	if b == nil {
		return nil
	}
	out := *b
	return &out
}

package spool

import "slices"

// recent are the groups that became durable last, so that sinks that keep up read nothing from disk. The log's state guards it.
type recent struct {
	groups []*group
	bytes  int64
}

const recentBytes = 16 << 20

// add takes g in, and lets go of what is too much, and of what every cursor is done with: all below low.
func (r *recent) add(g *group, low Pos) {
	r.groups = append(r.groups, g)
	r.bytes += g.bytes
	n := 0
	for n < len(r.groups) && (r.bytes > recentBytes || r.groups[n].end() <= low) {
		r.bytes -= r.groups[n].bytes
		n++
	}
	r.groups = slices.Delete(r.groups, 0, n)
}

// find returns the group that holds pos; nil: none.
func (r *recent) find(pos Pos) *group {
	i, found := slices.BinarySearchFunc(r.groups, pos, func(g *group, pos Pos) int {
		switch {
		case g.end() <= pos:
			return -1
		case g.from > pos:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return r.groups[i]
}

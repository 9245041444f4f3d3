package spool

import (
	"slices"
	"strings"
)

// headless reports whether the header of some segment is damaged.
func (w *world) headless() bool {
	w.files.mu.Lock()
	defer w.files.mu.Unlock()
	for name, n := range w.files.names {
		if _, ok, _ := parseHeader(n.now); !ok && strings.HasSuffix(name, segmentSuffix) {
			return true
		}
	}
	return false
}

// damageSomething changes bytes of a segment.
func (w *world) damageSomething() {
	var segments []string
	for name := range w.files.names {
		if strings.HasSuffix(name, segmentSuffix) {
			segments = append(segments, name)
		}
	}
	if len(segments) == 0 {
		return
	}
	slices.Sort(segments)
	n := w.files.names[segments[w.rnd.IntN(len(segments))]]
	if len(n.now) == 0 {
		return
	}
	b := slices.Clone(n.now)
	switch at := w.rnd.IntN(len(b)); w.rnd.IntN(3) {
	case 0:
		b[at] ^= 1 << w.rnd.IntN(8)
	case 1:
		clear(b[at:min(len(b), at+1+w.rnd.IntN(1000))])
	case 2:
		b = b[:at]
	}
	*n = inode{now: b, synced: slices.Clone(b)}
}

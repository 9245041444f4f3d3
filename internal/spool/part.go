package spool

import "math/bits"

// part is what one cursor has done of one segment: a bit for each of its positions.
type part struct {
	seg   *segment
	base  Pos
	end   Pos // behind the last position that the cursor was told of
	done  []uint64
	open  int   // positions not done
	used  int64 // bytes of the segment
	saved bool  // by the newest file of the cursor, nothing in it is open
	fresh Pos   // positions from here on were asked of CursorOptions.Keep when they became durable
}

// newPart is a part of all that s holds; nothing of it is done, or all.
func newPart(s *segment, done bool) *part {
	end, used := s.extent()
	p := &part{seg: s, base: s.base, end: s.base, used: used}
	p.grow(end)
	p.fresh = end
	if done {
		p.settle(p.base, p.end)
	}
	return p
}

// grow adds positions up to end, which are open.
func (p *part) grow(end Pos) {
	p.open += int(end - p.end)
	p.end = end
	for need := (int(end-p.base) + 63) / 64; len(p.done) < need; {
		p.done = append(p.done, 0)
	}
}

func (p *part) isDone(pos Pos) bool {
	i := pos - p.base
	return p.done[i/64]&(1<<(i%64)) != 0
}

// finish notes that pos is done; it reports whether that is new.
func (p *part) finish(pos Pos) bool {
	i := pos - p.base
	word, bit := &p.done[i/64], uint64(1)<<(i%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	p.open--
	return true
}

// settle notes that all positions from from up to to are done, as far as they are in p.
func (p *part) settle(from, to Pos) {
	for pos := max(from, p.base); pos < min(to, p.end); pos++ {
		p.finish(pos)
	}
}

// next is the first position at or above from that is not done; p.end: there is none.
func (p *part) next(from Pos) Pos {
	from = max(from, p.base)
	if p.open == 0 || from >= p.end {
		return p.end
	}
	i := int(from - p.base)
	w := i / 64
	word := ^p.done[w] &^ (1<<(i%64) - 1)
	for word == 0 {
		if w++; w == len(p.done) {
			return p.end
		}
		word = ^p.done[w]
	}
	return min(p.end, p.base+Pos(w*64+bits.TrailingZeros64(word)))
}

// bytes is about how much of the segment is open.
func (p *part) bytes() int64 {
	if p.open == 0 || p.end == p.base {
		return 0
	}
	return int64(float64(p.used-headerBytes) * float64(p.open) / float64(p.end-p.base))
}

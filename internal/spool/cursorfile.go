package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"net/url"
	"slices"
)

// A cursor's file is, integers of variable length where no width is given, little endian:
//
//	8 bytes "TBCURSR\n", u16 major version, u16 minor version
//	name of the sink
//	0, or 1 and the mark
//	end: nothing at or above it is done
//	number of parts; each: base, number of positions, and a u64 for every 64 of them: a bit is set where the position is done
//	u32 CRC32C of all before
//
// What lies below end and in no part is done: there may still be a segment of it whose removal a crash has undone.
type cursorState struct {
	sink  string
	mark  []byte
	end   Pos
	parts []part // without segments
}

const cursorMagic = "TBCURSR\n"

func cursorName(sink string) string { return cursorPrefix + url.PathEscape(sink) }

// encode is called with mu held.
func (c *diskCursor) encode(mark []byte) []byte {
	b := append([]byte(nil), cursorMagic...)
	b = byteOrder.AppendUint16(b, formatMajor)
	b = byteOrder.AppendUint16(b, formatMinor)
	b = appendText(b, c.sink)
	if mark == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = appendText(b, string(mark))
	}
	b = binary.AppendUvarint(b, uint64(c.end))
	n := uint64(0)
	for _, p := range c.parts {
		if p.open > 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, n)
	for _, p := range c.parts {
		if p.open == 0 {
			continue
		}
		b = binary.AppendUvarint(b, uint64(p.base))
		b = binary.AppendUvarint(b, uint64(p.end-p.base))
		for _, word := range p.done {
			b = byteOrder.AppendUint64(b, word)
		}
	}
	return byteOrder.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var errUnusable = errors.New("file is damaged")

func parseCursor(b []byte) (*cursorState, error) {
	n := len(b) - 4
	if n < 12 || string(b[:8]) != cursorMagic || byteOrder.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, errUnusable
	}
	if byteOrder.Uint16(b[8:]) > formatMajor {
		return nil, errNewer
	}
	d := decoder{b: b[12:n], s: string(b[12:n])}
	st := &cursorState{sink: d.text()}
	if d.uvarint() == 1 {
		st.mark = []byte(d.text())
	}
	st.end = Pos(d.uvarint())
	for range d.uvarint() {
		p := part{base: Pos(d.uvarint())}
		p.end = p.base
		count := d.uvarint()
		words := (count + 63) / 64
		if left := uint64(len(d.b) - d.i); words > left/8 {
			return nil, errUnusable
		}
		p.grow(p.base + Pos(count))
		for w := range p.done {
			p.done[w] = byteOrder.Uint64(d.b[d.i:])
			p.open -= bits.OnesCount64(p.done[w])
			d.i += 8
		}
		st.parts = append(st.parts, p)
	}
	return st, nil
}

// restore puts the cursor where its file says. A position that is open and in no segment is lost: a segment goes only when the file says that all of it is
// done.
func (c *diskCursor) restore(st *cursorState, segments []*segment, holes []stretch) {
	c.mark, c.saved = st.mark, true
	for i := range st.parts {
		c.lost += st.parts[i].open
	}
	for _, h := range holes {
		if from := max(h.first, st.end); from < h.next {
			c.lost += int(h.next - from)
		}
	}
	for _, s := range segments {
		p := newPart(s, false)
		i := 0
		for pos := p.base; pos < min(p.end, st.end); pos++ {
			for i < len(st.parts) && st.parts[i].end <= pos {
				i++
			}
			if i == len(st.parts) || pos < st.parts[i].base || st.parts[i].isDone(pos) {
				p.finish(pos)
			} else {
				c.lost--
			}
		}
		p.saved = p.open == 0
		c.parts = append(c.parts, p)
	}
}

// restored makes the cursors of all files. They are not part of a log.
func (v *survey) restored() []*diskCursor {
	var cursors []*diskCursor
	for _, st := range v.cursors {
		c := newDiskCursor(st.sink, v.end)
		c.restore(st, v.segments, v.holes)
		cursors = append(cursors, c)
	}
	return cursors
}

// Save implements [Cursor].
func (c *diskCursor) Save(mark []byte) error {
	if err := c.store(&mark); err != nil {
		return fmt.Errorf("save cursor %q: %w", c.sink, err)
	}
	c.log.clean()
	return nil
}

// saveAgain saves what is done beside the mark that was saved last, which is old enough for whatever was sent since.
func (c *diskCursor) saveAgain() error {
	if err := c.store(nil); err != nil {
		return fmt.Errorf("save cursor %q: %w", c.sink, err)
	}
	c.log.clean()
	return nil
}

// store saves what is done with a newer mark; nil: with the one that was saved last.
func (c *diskCursor) store(newer *[]byte) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	if c.log.over() {
		return ErrClosed // the folder may be another process's by now
	}
	type whole struct {
		*part
		end Pos
	}
	var done []whole
	c.mu.Lock()
	mark := c.mark
	if newer != nil {
		mark = *newer
	}
	if c.saved && bytes.Equal(mark, c.mark) && (mark == nil) == (c.mark == nil) {
		c.mu.Unlock()
		return nil
	}
	b := c.encode(mark)
	for _, p := range c.parts {
		if p.open == 0 {
			done = append(done, whole{p, p.end})
		}
	}
	c.saved = true
	c.mu.Unlock()

	err := replaceFile(c.log.Files, c.log.path(cursorName(c.sink)), b, c.log.durable())

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.saved = false
		c.log.metrics.failed("save")
		return err
	}
	c.mark = slices.Clone(mark)
	for _, p := range done {
		p.saved = p.saved || p.part.end == p.end
	}
	return nil
}

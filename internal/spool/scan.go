package spool

import (
	"errors"
	"io"
	"time"
)

// stretch is a part of a segment in which there is no valid record.
type stretch struct {
	from, to    int64
	first, next Pos // the positions that must have been there; first == next: none, or it is not known
}

// records is how many records are lost: at least one, because also an alive record is missed.
func (b stretch) records() int64 { return max(1, int64(b.next-b.first)) }

// span is what one scan found in a segment.
type span struct {
	used    int64 // where the last record that counts ends
	base    Pos   // the first position in it
	end     Pos   // the first position after it
	bad     []stretch
	proved  int64     // all bytes below were durable once
	junk    int64     // behind the last byte that is not zero, but at least used
	alive   time.Time // the newest alive record, and its position
	aliveAt Pos
}

// scanner reads the records of one segment in order, and finds the next one after a bad stretch.
type scanner struct {
	r    io.ReaderAt
	size int64 // of the file, or where to stop
	buf  []byte
	at   int64 // where buf begins
}

const scanWindow = 1 << 20

// bytes returns n bytes from off on, fewer at the end. They are valid until the next call.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	n = min(n, s.size-off)
	if n <= 0 {
		return nil, nil
	}
	if off < s.at || off+n > s.at+int64(len(s.buf)) {
		want := min(max(n, scanWindow), s.size-off)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.at = s.buf[:want], off
		if err := s.fill(); err != nil {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	return s.buf[off-s.at:][:n], nil
}

const sector = 4096

// fill reads the window. A part that cannot be read although the segment's first bytes can is a bad spot of the disk, not a disk that is away: it
// counts as zeros, and so as damage, because waiting would not bring it back.
func (s *scanner) fill() error {
	n, err := s.r.ReadAt(s.buf, s.at)
	if n == len(s.buf) {
		return nil
	}
	if errors.Is(err, io.EOF) { // cut meanwhile
		clear(s.buf[n:])
		return nil
	}
	if n, first := s.r.ReadAt(make([]byte, 1), 0); n != 1 {
		return first
	}
	for i := 0; i < len(s.buf); i += sector {
		part := s.buf[i:min(i+sector, len(s.buf))]
		if n, _ := s.r.ReadAt(part, s.at+int64(i)); n < len(part) {
			for k := range part {
				part[k] = 0xff // not zeros: they would look like the end
			}
		}
	}
	return nil
}

// record returns the valid record at off; ok is false where there is none.
func (s *scanner) record(off int64) (f frame, ok bool, err error) {
	b, err := s.bytes(off, recordFixed)
	if err != nil || len(b) < recordFixed {
		return frame{}, false, err
	}
	n := recordLength(b)
	// Looked at before the checksum, because at a bad spot almost every offset is tried, and each could mean megabytes.
	if n == 0 || off+n > s.size || int64(byteOrder.Uint32(b[12:]))+recordFixed > n || int64(byteOrder.Uint32(b[24:])) > off {
		return frame{}, false, nil
	}
	if b, err = s.bytes(off, n); err != nil {
		return frame{}, false, err
	}
	f, err = parseRecord(b)
	if errors.Is(err, errDamaged) {
		return frame{}, false, nil
	}
	return f, err == nil, err
}

// scan calls visit with every valid record from offset start on that lies below limit; visit may be nil. expect is the first position that
// may come; dense says that it must be the first, as it must where the segment's header is known.
func (s *scanner) scan(start int64, expect Pos, dense bool, limit Pos, visit func(off int64, f *frame)) (span, error) {
	found := span{used: start, base: expect, end: expect}
	for off := start; off < s.size; {
		f, ok, err := s.record(off)
		if err != nil {
			return found, err
		}
		if !ok || !plausible(&f, found.end, off-found.used, dense) {
			if off, err = s.next(off + 1); err != nil {
				return found, err
			}
			continue
		}
		if !dense {
			dense, found.base, found.end = true, f.pos, f.pos
		}
		if f.pos >= limit && found.end >= limit {
			break // superseded, as is everything after it; what is bad before it need not have counted
		}
		if off > found.used {
			found.bad = append(found.bad, stretch{found.used, off, found.end, min(f.pos, limit)})
			found.used = off
		}
		if found.end = f.pos; f.pos >= limit {
			found.end = limit
			break
		}
		if t := f.alive(); !t.IsZero() {
			found.alive, found.aliveAt = t, f.pos
		}
		found.proved = max(found.proved, off-f.back)
		if visit != nil {
			visit(off, &f)
		}
		if f.takesPosition() {
			found.end++
		}
		off += f.size
		found.used = off
	}
	var err error
	found.junk, err = s.lastByte(found.used)
	return found, err
}

// plausible: positions rise by one from record to record, and a bad stretch cannot have held more records than fit into it.
func plausible(f *frame, expect Pos, skipped int64, dense bool) bool {
	if f.pos < expect {
		return false
	}
	return !dense || f.pos-expect <= Pos(skipped/recordFixed)
}

// next is the first offset from off on at which a record may begin: zeros are passed over, but for three, with which its length may begin.
func (s *scanner) next(off int64) (int64, error) {
	for at := off; at < s.size; {
		b, err := s.bytes(at, sector)
		if err != nil {
			return 0, err
		}
		if i := firstByte(b); i < len(b) {
			return max(off, at+int64(i)-3), nil
		}
		at += int64(len(b))
	}
	return s.size, nil
}

// lastByte is the offset behind the last byte from off on that is not zero; off: there is none.
func (s *scanner) lastByte(off int64) (int64, error) {
	last := off
	for at := off; at < s.size; {
		b, err := s.bytes(at, sector)
		if err != nil {
			return 0, err
		}
		if firstByte(b) < len(b) {
			for i := len(b) - 1; ; i-- {
				if b[i] != 0 {
					last = at + int64(i) + 1
					break
				}
			}
		}
		at += int64(len(b))
	}
	return last, nil
}

// firstByte is the index of the first byte that is not zero, len(b) where all are.
func firstByte(b []byte) int {
	i := 0
	for ; i+8 <= len(b) && byteOrder.Uint64(b[i:]) == 0; i += 8 { // a preallocated segment is megabytes of zeros
	}
	for ; i < len(b) && b[i] == 0; i++ {
	}
	return i
}

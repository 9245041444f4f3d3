package spool

import (
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A segment begins with a header, little endian:
//
//	 0  8 bytes  "TBSPOOL\n"
//	 8  u16      major version of the format: a higher one cannot be read
//	10  u16      minor version: a higher one can
//	12  u32      zero
//	16  u64      serial number, also in the file's name: the order of segments
//	24  u64      first: records of earlier segments at or above this position do not count
//	32  u64      base: the first position given in this segment
//	40  i64      epoch: when the log was created, s since 1970
//	48  i64      the newest alive record before this segment, ns since 1970; 0: none
//	56  u32      zero
//	60  u32      CRC32C of the bytes before
type header struct {
	serial      uint64
	first, base Pos
	epoch       int64
	alive       time.Time
}

const (
	headerBytes  = 64
	segmentMagic = "TBSPOOL\n"
	formatMajor  = 1
	formatMinor  = 0
)

func (h *header) append(b []byte) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = byteOrder.AppendUint16(b, formatMajor)
	b = byteOrder.AppendUint16(b, formatMinor)
	b = byteOrder.AppendUint32(b, 0)
	b = byteOrder.AppendUint64(b, h.serial)
	b = byteOrder.AppendUint64(b, uint64(h.first))
	b = byteOrder.AppendUint64(b, uint64(h.base))
	b = byteOrder.AppendUint64(b, uint64(h.epoch))
	b = byteOrder.AppendUint64(b, uint64(nanos(h.alive)))
	b = byteOrder.AppendUint32(b, 0)
	return byteOrder.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseHeader reads the header at the beginning of b; ok is false where it is damaged.
func parseHeader(b []byte) (h header, ok bool, err error) {
	if len(b) < headerBytes || string(b[:8]) != segmentMagic || byteOrder.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return header{}, false, nil
	}
	if byteOrder.Uint16(b[8:]) > formatMajor {
		return header{}, false, errNewer
	}
	return header{
		serial: byteOrder.Uint64(b[16:]), first: Pos(byteOrder.Uint64(b[24:])), base: Pos(byteOrder.Uint64(b[32:])),
		epoch: int64(byteOrder.Uint64(b[40:])), alive: instant(int64(byteOrder.Uint64(b[48:]))),
	}, true, nil
}

// nanos and instant keep the zero time as 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// The names in the log's folder.
const (
	lockName       = "lock"
	checkpointName = "checkpoint"
	cursorPrefix   = "cursor-"
	segmentSuffix  = ".seg"
	tempSuffix     = ".tmp"
	quarantineName = "quarantine"
)

func segmentName(dir string, serial uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%012d%s", serial, segmentSuffix))
}

// segmentSerial is the serial number in a file's name; ok is false for other files.
func segmentSerial(name string) (serial uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	serial, err := strconv.ParseUint(digits, 10, 64)
	return serial, err == nil
}

package deadletter

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// A letter in a file, little-endian:
//
//	magic 4 · state 1 · length of meta 4 · length of data 4 · CRC32C of the lengths, meta and data 4 · meta (JSON) · data
//
// The state is outside the checksum, because it is overwritten in place when the letter is removed: one byte, which a disk writes whole or
// not at all. Meta may get members; a reader passes over those that it does not know. A format that this does not allow for gets another suffix of
// its files.
const (
	magic     = "\xd1\xff\x00\xf4" // no UTF-8, so it is in no text and no JSON
	stateAt   = len(magic)
	lengthsAt = stateAt + 1
	sumAt     = lengthsAt + 8
	frameHead = sumAt + 4

	stateHeld    = 0x5a // any other value but the next is taken for this
	stateRemoved = 0x33
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meta is all of a letter but its data.
type meta struct {
	Sink          string `json:"sink"`
	Reason        string `json:"reason"`
	Attempts      int    `json:"attempts"`
	FirstAt       int64  `json:"first_at"`
	At            int64  `json:"at"`
	First         string `json:"first"`
	Last          string `json:"last"`
	Pos           uint64 `json:"pos"`
	Epoch         int64  `json:"epoch"`
	ID            string `json:"id"`
	Source        string `json:"source"`
	Type          string `json:"type"`
	Subject       string `json:"subject"`
	Time          int64  `json:"time"`
	TimeSource    string `json:"timesource"`
	Recorded      int64  `json:"recordedtime"`
	Origin        string `json:"origin"`
	PartitionKey  string `json:"partitionkey"`
	CorrelationID string `json:"correlationid"`
	BridgeID      string `json:"bridgeid"`
	Provider      string `json:"provider"`
	Account       string `json:"account"`
	Agent         string `json:"agent"`
}

// appendFrame appends l as it stands in a file.
func appendFrame(dst []byte, l *Letter) ([]byte, error) {
	h := &l.Record.Header
	m, err := json.Marshal(meta{
		l.Sink, l.Reason, l.Attempts, int64(l.FirstAt), int64(l.At), l.First, l.Last, uint64(l.Record.Pos), l.Record.Epoch,
		h.ID, h.Source, string(h.Type), h.Subject, int64(h.Time), string(h.TimeSource), int64(h.Recorded), string(h.Origin), h.PartitionKey, h.CorrelationID,
		h.BridgeID, string(h.Provider), h.Account, h.Agent,
	})
	if err != nil {
		return nil, fmt.Errorf("encode letter: %w", err)
	}
	at := len(dst)
	dst = append(append(dst, magic...), stateHeld)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(l.Record.Data)))
	dst = append(dst, 0, 0, 0, 0)
	dst = append(append(dst, m...), l.Record.Data...)
	binary.LittleEndian.PutUint32(dst[at+sumAt:], checksum(dst[at:]))
	return dst, nil
}

// checksum is of a whole frame.
func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[lengthsAt:sumAt], castagnoli), castagnoli, frame[frameHead:])
}

var errBadFrame = errors.New("damaged")

// parseFrame reads the letter that b begins with, and returns how long it is there. The letter's data is part of b.
func parseFrame(b []byte) (l *Letter, gone bool, size int, err error) {
	if len(b) < frameHead || string(b[:len(magic)]) != magic {
		return nil, false, 0, errBadFrame
	}
	data := int64(frameHead) + int64(binary.LittleEndian.Uint32(b[lengthsAt:]))
	whole := data + int64(binary.LittleEndian.Uint32(b[lengthsAt+4:]))
	if whole > int64(len(b)) || checksum(b[:whole]) != binary.LittleEndian.Uint32(b[sumAt:]) {
		return nil, false, 0, errBadFrame
	}
	var m meta
	if err := json.Unmarshal(b[frameHead:data], &m); err != nil {
		return nil, false, 0, fmt.Errorf("%w: %w", errBadFrame, err)
	}
	return &Letter{
		Sink: m.Sink, Reason: m.Reason, Attempts: m.Attempts, FirstAt: event.Instant(m.FirstAt), At: event.Instant(m.At), First: m.First, Last: m.Last,
		Record: spool.Record{
			Pos: spool.Pos(m.Pos), Epoch: m.Epoch, Key: spool.Hash(m.PartitionKey), Data: b[data:whole],
			Header: event.Header{
				ID: m.ID, Source: m.Source, Type: event.Type(m.Type), Subject: m.Subject, Time: event.Instant(m.Time), TimeSource: event.TimeSource(m.TimeSource),
				Recorded: event.Instant(m.Recorded), Origin: event.Origin(m.Origin), PartitionKey: m.PartitionKey, CorrelationID: m.CorrelationID,
				BridgeID: m.BridgeID, Provider: event.Provider(m.Provider), Account: m.Account, Agent: m.Agent,
			},
		},
	}, b[stateAt] == stateRemoved, int(whole), nil
}

// span is where a letter is in its file.
type span struct {
	at   int64
	size int
}

// scan calls found for every letter in a file's content, also for removed ones, and passes over what is damaged: a stretch with a good letter
// after it counts once in corrupt. end is where the last good letter ends; what follows there is damaged too.
func scan(content []byte, found func(l *Letter, gone bool, in span) error) (end int64, corrupt int, err error) {
	for at := 0; at < len(content); {
		l, gone, size, err := parseFrame(content[at:])
		if err != nil {
			next := bytes.Index(content[at+1:], []byte(magic))
			if next < 0 {
				break
			}
			at += 1 + next
			continue
		}
		if int64(at) > end {
			corrupt++
		}
		if err := found(l, gone, span{int64(at), size}); err != nil {
			return end, corrupt, err
		}
		at += size
		end = int64(at)
	}
	return end, corrupt, nil
}

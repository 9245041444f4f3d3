package spool

import (
	"context"
	"io"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// own is the bridge's log as it is shipped.
type own struct {
	disk   *spool.Disk
	cursor spool.Cursor
}

// header is that of a usual event.
var header = event.Header{
	ID: "WR00000000000000000000000000000001:accepted", Source: "/twilio/taskrouter/AC00000000000000000000000000000001/WS00000000000000000000000000000001",
	Type: event.ReservationAccepted, Subject: "WR00000000000000000000000000000001", Time: 1_767_323_075_000, TimeSource: event.TimeVendor,
	Recorded: 1_767_323_075_412, Origin: event.OriginSocket, PartitionKey: "WT00000000000000000000000000000001",
	CorrelationID: "WT00000000000000000000000000000001", BridgeID: "bridge-0", Provider: event.Twilio, Account: "AC00000000000000000000000000000001",
	Agent: "WK00000000000000000000000000000001",
}

// headerBytes is about what the header is in the log, its texts.
var headerBytes = len(header.ID) + len(header.Source) + len(header.Type) + len(header.Subject) + len(header.TimeSource) + len(header.Origin) +
	len(header.PartitionKey) + len(header.CorrelationID) + len(header.BridgeID) + len(header.Provider) + len(header.Account) + len(header.Agent)

func openOwn(dir string) (log, error) {
	d, err := spool.Open(spool.Options{Dir: dir, Survives: spool.PowerLoss})
	if err != nil {
		return nil, err
	}
	c, err := d.Cursor("reader", spool.CursorOptions{})
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return &own{d, c}, nil
}

func (o *own) store(record []byte) error {
	if _, err := o.disk.Append(spool.Normal, &event.Encoded{Header: header, Data: record[:len(record)-headerBytes]}); err != nil {
		return err
	}
	return o.disk.Sync()
}

func (o *own) follow(ctx context.Context, got func([]byte) error) error {
	const together = 1024 // as the publisher asks for
	for {
		select {
		case <-o.cursor.Ready():
		case <-ctx.Done():
			return nil
		}
		records, err := o.cursor.Next(together)
		if err != nil {
			return err
		}
		for i := range records {
			if err := got(records[i].Data); err != nil {
				return err
			}
			o.cursor.Done(records[i].Pos)
		}
	}
}

func (o *own) trim() error {
	if err := o.cursor.Save(nil); err != nil {
		return err
	}
	return o.disk.Checkpoint(func(io.Writer) error { return nil })
}

func (o *own) close() error { return o.disk.Close() }

package spooltest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func kilobyte(n int) *event.Encoded {
	e := numbered(n)
	e.Data = bytes.Repeat([]byte{'x'}, 1000)
	return e
}

// fill appends from number n on until the log refuses, and returns the first number that it did not take.
func (p *process) fill(c spool.Class, n int) (int, error) {
	for begin := n; n-begin < 10_000; n++ {
		if _, err := p.log.Append(c, kilobyte(n)); err != nil {
			return n, refused("append to a full log", err, spool.ErrFull)
		}
		if err := p.Sync(p.log); err != nil {
			return n, err
		}
	}
	return n, errors.New("the log has no bound")
}

// drain takes and finishes everything, and lets the log forget it.
func (p *process) drain(sink string) (n int, err error) {
	if n, err = p.deliver(sink); err != nil {
		return n, err
	}
	return n, errors.Join(views(p.log, ""), p.cursors[sink].Save(nil))
}

// deliver takes and finishes everything.
func (p *process) deliver(sink string) (n int, err error) {
	c := p.cursors[sink]
	for {
		records, err := c.Next(100)
		if err != nil || len(records) == 0 {
			return n, err
		}
		n += len(records)
		done(c, records)
	}
}

func checkBounds(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if !p.log.Room() {
		return errors.New("an empty log has no room")
	}
	normal, err := p.fill(spool.Normal, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(want(normal >= 50, "full after %d records", normal), want(!p.log.Room(), "a full log has room")); err != nil {
		return err
	}
	all, err := p.fill(spool.Reserve, normal)
	if err != nil {
		return err
	}
	if err := want(all > normal, "there is no reserve"); err != nil {
		return err
	}
	n, err := p.drain("a")
	if err != nil {
		return err
	}
	if err := errors.Join(want(n == all, "got %d records of %d", n, all), want(p.log.Room(), "no room although all is done")); err != nil {
		return err
	}
	p.log.Reserve(f.Reserve + 20<<10)
	less, err := p.fill(spool.Normal, 0)
	if err != nil {
		return err
	}
	return errors.Join(want(less < normal, "a larger reserve leaves room for %d, as many as before (%d)", less, normal), p.log.Close())
}

func checkOverdue(f *Fixture) error {
	p, err := f.open("slow", "fast")
	if err != nil {
		return err
	}
	if _, err := p.fill(spool.Normal, 0); err != nil {
		return err
	}
	if _, err := p.deliver("fast"); err != nil {
		return err
	}
	if p.log.Overdue() {
		return errors.New("overdue although a sink needs everything")
	}
	slow := p.cursors["slow"]
	records, err := slow.Next(1000)
	if err != nil {
		return err
	}
	middle := len(records) / 2
	done(slow, records[:middle])
	done(slow, records[middle+1:])
	err = p.log.Skip(func([]spool.Skipped) error { return errors.New("skips what is open although a checkpoint makes room") })
	if err := errors.Join(err, want(p.log.Overdue(), "most is done, and a checkpoint not overdue"), want(!p.log.Room(), "there is room without a checkpoint"),
		views(p.log, "")); err != nil {
		return err
	}
	return errors.Join(want(!p.log.Overdue(), "overdue after a checkpoint"), want(p.log.Room(), "no room after a checkpoint"), p.log.Close())
}

func checkSkip(f *Fixture) error {
	p, err := f.open("slow", "fast")
	if err != nil {
		return err
	}
	if _, err := p.add(0, 10); err != nil {
		return err
	}
	err = p.log.Skip(func([]spool.Skipped) error { return errors.New("skips although there is room") })
	if err != nil {
		return err
	}
	p.log.Reserve(0)
	n, err := p.fill(spool.Normal, 10)
	if err != nil {
		return err
	}
	if _, err := p.drain("fast"); err != nil {
		return err
	}
	queued, err := p.cursors["slow"].Next(3)
	if err != nil {
		return err
	}
	before, _, _ := p.cursors["slow"].Pending()
	wrong := errors.New("wrong")
	if err := p.log.Skip(func([]spool.Skipped) error { return wrong }); !errors.Is(err, wrong) {
		return fmt.Errorf("an announcement that fails: got %w", err)
	}
	if after, _, _ := p.cursors["slow"].Pending(); after != before {
		return fmt.Errorf("skips although it was not announced: %d pending, %d before", after, before)
	}
	var told []spool.Skipped
	if err := p.log.Skip(func(s []spool.Skipped) error { told = s; return nil }); err != nil {
		return err
	}
	total := 0
	for i, s := range told {
		total += s.Records
		last := int(s.To) - 1_000_000
		if s.Sink != "slow" || s.Header != numbered(last).Header || s.From != event.Instant(1_000_000+i) {
			return fmt.Errorf("told %+v", s)
		}
	}
	after, _, _ := p.cursors["slow"].Pending()
	again, err := p.cursors["slow"].Read(positions(queued))
	if err := errors.Join(err, want(len(told) == 3 && total > 0 && before-after == total, "told %d records of %d agents, %d fewer pending", total, len(told), before-after),
		same("read of what was skipped", again, nil)); err != nil {
		return err
	}
	done(p.cursors["slow"], queued) // does nothing
	rest, err := p.cursors["slow"].Next(1)
	if err != nil {
		return err
	}
	if err := errors.Join(same("after what was skipped", rest, []int{total}), p.cursors["slow"].Save(nil), views(p.log, "")); err != nil {
		return err
	}
	_, err = p.log.Append(spool.Normal, kilobyte(n))
	return errors.Join(err, p.log.Close())
}

func checkOrder(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if _, err := p.log.Cursor("a", spool.CursorOptions{}); err == nil {
		return errors.New("a cursor twice: no error")
	}
	if _, err := p.recover(nil); err != nil {
		return err
	}
	if _, err := p.log.Cursor("b", spool.CursorOptions{}); err == nil {
		return errors.New("a cursor after Recover: no error")
	}
	if _, err := p.add(0, 1); err != nil {
		return err
	}
	_, err = p.log.Cursor("c", spool.CursorOptions{})
	return errors.Join(want(err != nil, "a cursor after Append: no error"), p.log.Close())
}

func checkClose(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if _, err := p.log.Append(spool.Normal, numbered(0)); err != nil { // not synced
		return err
	}
	if err := p.log.Close(); err != nil {
		return err
	}
	_, err = p.log.Append(spool.Reserve, numbered(1))
	if err := errors.Join(refused("append after close", err, spool.ErrClosed), refused("alive after close", p.log.Alive(numbered(1).Header.Recorded.Time()), spool.ErrClosed)); err != nil {
		return err
	}
	if p, err = f.open("a"); err != nil {
		return err
	}
	_, err = p.expect("a", 0)
	return errors.Join(err, p.log.Close())
}

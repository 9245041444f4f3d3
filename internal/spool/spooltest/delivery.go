package spooltest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func checkRecords(f *Fixture) error {
	p, err := f.open("a", "b")
	if err != nil {
		return err
	}
	e := numbered(0)
	if _, err := p.log.Append(spool.Normal, e); err != nil {
		return err
	}
	copy(e.Data, "the caller uses its buffer again")
	if _, err := p.add(1, 40); err != nil {
		return err
	}
	first, err := p.expect("a", span(0, 40)...)
	if err != nil {
		return err
	}
	done(p.cursors["a"], first)
	for i := 1; i < len(first); i++ {
		if first[i].Sequence() <= first[i-1].Sequence() {
			return fmt.Errorf("sequence %s after %s", first[i].Sequence(), first[i-1].Sequence())
		}
	}
	_, err = p.expect("b", span(0, 40)...)
	again, nextErr := p.cursors["a"].Next(10)
	return errors.Join(err, nextErr, same("next, once more", again, nil), p.log.Close())
}

func checkAgain(f *Fixture) error {
	p, err := f.open("a", "b")
	if err != nil {
		return err
	}
	c := p.cursors["a"]
	if err := want(!c.Replaying() && c.Mark() == nil, "a new sink: replaying %v, mark %q", c.Replaying(), c.Mark()); err != nil {
		return err
	}
	at, err := p.add(0, 20)
	if err != nil {
		return err
	}
	got, err := p.take("a")
	if err != nil {
		return err
	}
	done(c, got[:5])
	done(c, got[10:15])
	if err := errors.Join(c.Save([]byte("mark")), p.log.Close()); err != nil {
		return err
	}
	if p, err = f.open("a", "b"); err != nil {
		return err
	}
	c = p.cursors["a"]
	if err := want(c.Replaying() && string(c.Mark()) == "mark", "second process: replaying %v, mark %q", c.Replaying(), c.Mark()); err != nil {
		return err
	}
	more, err := p.log.Append(spool.Normal, numbered(20))
	if err != nil {
		return err
	}
	if err := errors.Join(want(more > at[19], "position %d after %d", more, at[19]), p.Sync(p.log)); err != nil {
		return err
	}
	_, errA := p.expect("a", append(span(5, 10), span(15, 21)...)...)
	_, errB := p.expect("b", span(0, 21)...)
	return errors.Join(errA, errB, want(!c.Replaying(), "replaying after the last"), p.log.Close())
}

func checkCrash(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if _, err := p.add(0, 10); err != nil {
		return err
	}
	got, err := p.take("a")
	if err != nil {
		return err
	}
	done(p.cursors["a"], got[:3])
	if err := p.cursors["a"].Save([]byte("1")); err != nil {
		return err
	}
	done(p.cursors["a"], got[3:6]) // not saved
	for n := 10; n < 15; n++ {
		if _, err := p.log.Append(spool.Normal, numbered(n)); err != nil {
			return err
		}
	}
	f.Crash(p.log)
	if p, err = f.open("a"); err != nil {
		return err
	}
	rest, err := p.take("a")
	if err != nil {
		return err
	}
	// Of the last five a beginning may be there.
	return errors.Join(same("after the crash", rest, span(3, max(10, min(15, 3+len(rest))))),
		want(string(p.cursors["a"].Mark()) == "1", "mark %q", p.cursors["a"].Mark()), p.log.Close())
}

func checkRead(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if _, err := p.add(0, 30); err != nil {
		return err
	}
	if err := p.log.Close(); err != nil {
		return err
	}
	if p, err = f.open("a"); err != nil { // some from an earlier process, some from this one
		return err
	}
	if _, err := p.add(30, 40); err != nil {
		return err
	}
	got, err := p.take("a")
	if err != nil {
		return err
	}
	c := p.cursors["a"]
	c.Done(got[7].Pos)
	ask := []spool.Pos{got[35].Pos, got[2].Pos, got[7].Pos, got[31].Pos, got[29].Pos}
	some, err := c.Read(ask)
	all, errAll := c.Read(positions(got))
	return errors.Join(err, errAll, same("read", some, []int{35, 2, 31, 29}), same("read of all", all, append(span(0, 7), span(8, 40)...)), p.log.Close())
}

func checkDone(f *Fixture) error {
	p, err := f.open("a", "b")
	if err != nil {
		return err
	}
	at, err := p.add(0, 2)
	if err != nil {
		return err
	}
	c := p.cursors["a"]
	if !panics(func() { c.Done(at[0]) }) {
		return errors.New("done before next: no panic")
	}
	if _, err := c.Next(1); err != nil {
		return err
	}
	c.Done(at[0])
	if panics(func() { c.Done(at[0]) }) {
		return errors.New("done twice: panic")
	}
	n, _, _ := c.Pending()
	return errors.Join(want(panics(func() { c.Done(at[1]) }), "done of what next has not returned: no panic"), want(n == 1, "%d pending, want 1", n), p.log.Close())
}

func panics(do func()) (did bool) {
	defer func() { did = recover() != nil }()
	do()
	return false
}

func checkKeep(f *Fixture) error {
	asked := map[string]int{}
	keep := func(h *event.Header) bool {
		asked[h.ID]++
		return h.Agent == "agent 1"
	}
	for process := range 2 {
		p, err := f.open("all")
		if err != nil {
			return err
		}
		if p.cursors["some"], err = p.log.Cursor("some", spool.CursorOptions{Keep: keep}); err != nil {
			return err
		}
		if process == 0 {
			if _, err := p.add(0, 8); err != nil {
				return err
			}
			if _, err := p.log.AppendFor("some", numbered(9)); err != nil {
				return err
			}
			if err := p.Sync(p.log); err != nil {
				return err
			}
		}
		_, errSome := p.expect("some", 1, 4, 7, 9)
		_, errAll := p.expect("all", span(0, 8)...)
		n, _, _ := p.cursors["some"].Pending()
		err = errors.Join(errSome, errAll, want(n == 4, "%d pending, want 4", n), p.log.Close())
		for n := range 8 {
			err = errors.Join(err, want(asked[fmt.Sprint(n)] == 1, "asked %d times for event %d", asked[fmt.Sprint(n)], n))
		}
		if err != nil {
			return fmt.Errorf("process %d: %w", process+1, err)
		}
		clear(asked)
	}
	return nil
}

func checkNow(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if _, err := p.add(0, 3); err != nil {
		return err
	}
	if err := p.log.Close(); err != nil {
		return err
	}
	numbers := []int{}
	for n := 3; n < 5; n++ {
		if p, err = f.open("a"); err != nil {
			return err
		}
		if p.cursors["late"], err = p.log.Cursor("late", spool.CursorOptions{Now: true}); err != nil {
			return err
		}
		if _, err := p.add(n, n+1); err != nil {
			return err
		}
		numbers = append(numbers, n) // the first one comes again: it was not done
		_, err := p.expect("late", numbers...)
		if err := errors.Join(err, p.log.Close()); err != nil {
			return err
		}
	}
	return nil
}

func checkPending(f *Fixture) error {
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if _, err := p.add(0, 10); err != nil {
		return err
	}
	got, err := p.take("a")
	if err != nil {
		return err
	}
	slices.Reverse(got)
	c := p.cursors["a"]
	last := int64(0)
	for i, r := range got {
		n, bytes, oldest := c.Pending()
		if n != 10-i || oldest != 1_000_000 || bytes <= 0 || i > 0 && bytes >= last {
			return fmt.Errorf("with %d open: got %d, %d bytes, oldest %d", 10-i, n, bytes, oldest)
		}
		last = bytes
		c.Done(r.Pos)
	}
	n, bytes, oldest := c.Pending()
	return errors.Join(want(n == 0 && bytes == 0 && oldest == 0, "nothing open: got %d, %d bytes, oldest %d", n, bytes, oldest), p.log.Close())
}

package spooltest

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// recovered is what Recover gives.
type recovered struct {
	views  string
	folded []spool.Record
	alive  time.Time
}

func (p *process) recover(fail error) (r recovered, err error) {
	r.alive, err = p.log.Recover(func(from io.Reader) error {
		b, err := io.ReadAll(from)
		r.views = string(b)
		return errors.Join(err, fail)
	}, func(one *spool.Record) { r.folded = append(r.folded, *one) })
	return r, err
}

func (r *recovered) check(views string, numbers []int, alive time.Time) error {
	return errors.Join(want(r.views == views, "views %q, want %q", r.views, views), same("folded", r.folded, numbers),
		want(r.alive.Equal(alive), "alive %v, want %v", r.alive, alive))
}

func views(l spool.Log, text string) error {
	return l.Checkpoint(func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
}

func checkRecover(f *Fixture) error {
	wrong := errors.New("wrong")
	for step, do := range []func(*process) error{
		func(p *process) error {
			r, err := p.recover(nil)
			if err := errors.Join(err, r.check("", nil, time.Time{})); err != nil {
				return err
			}
			_, err = p.add(0, 5)
			return err
		},
		func(p *process) error { // no checkpoint: everything, also what is done
			r, err := p.recover(nil)
			if err := errors.Join(err, r.check("", span(0, 5), time.Time{})); err != nil {
				return err
			}
			err = p.log.Checkpoint(func(w io.Writer) error {
				if _, err := p.log.Append(spool.Normal, numbered(5)); err != nil { // appending goes on
					return err
				}
				_, err := io.WriteString(w, "old")
				return err
			})
			if err != nil {
				return err
			}
			if err := p.log.Checkpoint(func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return wrong }); !errors.Is(err, wrong) {
				return fmt.Errorf("a save that fails: got %w", err)
			}
			_, err = p.add(6, 8)
			return err
		},
		func(p *process) error {
			r, err := p.recover(nil)
			return errors.Join(err, r.check("old", span(5, 8), time.Time{}))
		},
		func(p *process) error { // views that cannot be loaded
			r, err := p.recover(wrong)
			return errors.Join(err, r.check("old", span(0, 8), time.Time{}), views(p.log, "new"))
		},
		func(p *process) error {
			r, err := p.recover(nil)
			return errors.Join(err, r.check("new", nil, time.Time{}))
		},
	} {
		p, err := f.open("a")
		if err != nil {
			return err
		}
		if err := do(p); err != nil {
			return fmt.Errorf("process %d: %w", step+1, err)
		}
		records, err := p.take("a")
		if err != nil {
			return err
		}
		if step < 2 {
			done(p.cursors["a"], records[:min(2, len(records))])
		}
		if err := p.Sync(p.log); err != nil {
			return err
		}
		if step%2 == 0 {
			f.Crash(p.log)
		} else if err := p.log.Close(); err != nil {
			return err
		}
	}
	return nil
}

func checkAlive(f *Fixture) error {
	at := func(s int64) time.Time { return time.Unix(1_800_000_000+s, 0) }
	p, err := f.open("a")
	if err != nil {
		return err
	}
	if err := errors.Join(p.log.Alive(at(5)), p.log.Alive(at(2)), p.Sync(p.log)); err != nil {
		return err
	}
	f.Crash(p.log)
	for range 2 { // also without anything new
		if p, err = f.open("a"); err != nil {
			return err
		}
		r, err := p.recover(nil)
		if err := errors.Join(err, r.check("", nil, at(2)), p.log.Close()); err != nil {
			return err
		}
	}
	if p, err = f.open("a"); err != nil {
		return err
	}
	if _, err := p.recover(nil); err != nil {
		return err
	}
	if _, err := p.add(0, 2); err != nil {
		return err
	}
	if err := errors.Join(p.log.Alive(at(9)), views(p.log, "views"), p.log.Close()); err != nil {
		return err
	}
	if p, err = f.open("a"); err != nil {
		return err
	}
	r, err := p.recover(nil)
	return errors.Join(err, r.check("views", nil, at(9)), p.log.Close())
}

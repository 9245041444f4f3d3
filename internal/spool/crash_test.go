package spool

import (
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
)

var runs = flag.Int("spool.runs", 200, "sequences of TestDiskModel and instants of TestDiskPowerCut")

// TestDiskModel holds the log against a reference through random steps, clean ends, kills and damage.
func TestDiskModel(t *testing.T) {
	for seed := range uint64(*runs) {
		synctest.Test(t, func(t *testing.T) {
			if err := modelRun(newWorld(seed)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		})
	}
}

func modelRun(w *world) error {
	damage := false
	for range 6 {
		if err := w.start(damage); err != nil {
			_ = w.disk.Close()
			return err
		}
		for range w.rnd.IntN(60) {
			if err := w.step(); err != nil {
				_ = w.disk.Close()
				return err
			}
		}
		damage = false
		switch w.rnd.IntN(3) {
		case 0: // killed
			files := w.files.killed()
			_ = w.disk.Close()
			w.files = files
		case 1:
			if err := w.end(); err != nil {
				return err
			}
		case 2:
			if err := w.end(); err != nil {
				return err
			}
			damage = true
			w.damageSomething()
		}
	}
	return nil
}

// end closes the log in order. What is durable is saved by then: that a log was cut between two records only its cursors can tell.
func (w *world) end() error {
	if err := w.disk.Sync(); err != nil {
		return err
	}
	w.save()
	if err := w.disk.Close(); err != nil {
		return err
	}
	w.promise.durable = len(w.promise.entries)
	return nil
}

// TestDiskPowerCut cuts the power at random instants, also of a log whose disk fails now and then, and once more after the next start.
func TestDiskPowerCut(t *testing.T) {
	for seed := range uint64(*runs) {
		synctest.Test(t, func(t *testing.T) {
			if err := powerCut(newWorld(seed)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		})
	}
}

func powerCut(w *world) error {
	shaky := w.rnd.IntN(2) == 0
	for range 3 {
		if err := w.start(false); err != nil {
			if w.disk != nil {
				_ = w.disk.Close()
			}
			return err
		}
		after, promised, err := w.untilCut(shaky)
		w.files.mu.Lock()
		w.files.fail, w.files.watch = nil, nil
		w.files.mu.Unlock()
		_ = w.disk.Close()
		if err != nil {
			return err
		}
		lie := w.files.lie
		w.files, w.promise = after.cut(w.rnd), promised
		w.files.lie = lie
		if !w.supersede {
			w.forgetFirst()
		}
	}
	return nil
}

// untilCut goes on until a random operation of the disk, and returns what it held then and what had been promised.
func (w *world) untilCut(shaky bool) (after *cutFiles, promised promise, err error) {
	at := w.rnd.IntN(250)
	w.files.mu.Lock()
	begin := w.files.ops
	if shaky {
		w.files.fail = flaky(rand.New(rand.NewPCG(w.rnd.Uint64(), 3)))
	}
	w.files.watch = func(op int) {
		if after == nil && op >= begin+at {
			w.mu.Lock()
			after, promised = w.files.copied(), w.promise.clone()
			w.mu.Unlock()
		}
	}
	w.files.mu.Unlock()
	for range 400 {
		if err := w.step(); err != nil {
			return nil, promise{}, err
		}
		w.files.mu.Lock()
		over := after != nil
		w.files.mu.Unlock()
		if over {
			return after, promised, nil
		}
	}
	return w.files.killed(), w.promise.clone(), nil
}

// TestDiskPowerCutControls: each omission is found out.
func TestDiskPowerCutControls(t *testing.T) {
	for name, omit := range map[string]func(*world){
		"nothing is synced":            func(w *world) { w.files.lie = func(op string) bool { return op == "sync" } },
		"the folder is not synced":     func(w *world) { w.files.lie = func(op string) bool { return op == "sync_dir" } },
		"the checkpoint does not wait": func(w *world) { w.eager = true },
		"nothing is superseded":        func(w *world) { w.supersede = false },
	} {
		found := false
		for seed := uint64(0); seed < 1000 && !found; seed++ {
			synctest.Test(t, func(*testing.T) {
				w := newWorld(seed)
				omit(w)
				if err := powerCut(w); err != nil {
					if !errors.Is(err, errViolated) {
						t.Errorf("%s: seed %d: %v", name, seed, err)
					}
					found = true
				}
			})
		}
		if !found {
			t.Errorf("%s: not found out", name)
		}
	}
}

// forgetFirst makes every segment say that it supersedes nothing.
func (w *world) forgetFirst() {
	for name, n := range w.files.names {
		if h, ok, err := parseHeader(n.now); ok && err == nil && strings.HasSuffix(name, segmentSuffix) {
			h.first = everything
			copy(n.now, h.append(nil))
		}
	}
}

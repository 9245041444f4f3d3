package roster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/roster"
)

// stage is a watch that runs in a bubble's time.
type stage struct {
	*roster.Watch
	logs *observer.ObservedLogs
	reg  *prometheus.Registry
	stop func()

	mu     sync.Mutex
	told   []string // each roster, its ids joined
	toldAt []time.Time
}

func watch(t *testing.T, every time.Duration, read roster.Read) *stage {
	core, logs := observer.New(zap.InfoLevel)
	s := &stage{logs: logs, reg: prometheus.NewRegistry()}
	s.Watch = roster.NewWatch("support", read, every, zap.New(core), roster.NewMetrics(s.reg))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, func(ids []string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told, s.toldAt = append(s.told, strings.Join(ids, " ")), append(s.toldAt, time.Now())
		})
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
	return s
}

func (s *stage) rosters() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

// saw compares what was told so far; the watch waits in its pause.
func (s *stage) saw(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, s.rosters()); diff != "" {
		t.Fatalf("rosters told (-want +got):\n%s", diff)
	}
}

// script is what readings find until it changes, and when they came.
type script struct {
	mu  sync.Mutex
	ids []string
	err error
	at  []time.Time
}

func (s *script) read(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	return slices.Clone(s.ids), s.err
}

func (s *script) set(err error, ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.ids = err, ids
}

func (s *script) readings() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at)
}

func TestWatchTellsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vendor := &script{ids: []string{"b", "a"}}
		s := watch(t, time.Minute, vendor.read)
		defer s.stop()
		s.saw(t, "a b")
		vendor.set(nil, "a", "b")
		time.Sleep(10 * time.Minute)
		s.saw(t, "a b") // the order is none of its business
		if n := len(vendor.readings()); n < 10 || n > 13 {
			t.Errorf("got %d readings in 10 minutes, want one a minute or a little more", n)
		}
		vendor.set(nil, "b", "c", "d")
		time.Sleep(time.Minute)
		s.saw(t, "a b", "a b c d")
		time.Sleep(time.Minute)
		s.saw(t, "a b", "a b c d", "b c d")
		last := s.logs.FilterMessage("roster changed").All()
		if diff := cmp.Diff(map[string]any{"agents": int64(3), "added": int64(0), "removed": int64(1)}, last[len(last)-1].ContextMap()); diff != "" {
			t.Errorf("logged (-want +got):\n%s", diff)
		}
	})
}

func TestWatchKeepsTheRosterWhileReadingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vendor := &script{ids: []string{"a"}}
		s := watch(t, 10*time.Minute, vendor.read)
		defer s.stop()
		s.saw(t, "a")
		if got := s.Failing(); got != nil {
			t.Errorf("got %v, want nil", got)
		}
		began := time.Now()
		fault := retry.Reasonf("rest_5xx", "HTTP status 500")
		vendor.set(fault)
		time.Sleep(20 * time.Minute)
		s.saw(t, "a")
		if got := s.Failing(); !errors.Is(got, fault) {
			t.Errorf("got %v, want %v", got, fault)
		}
		// 1 s doubling to a minute, with jitter: far more than one in ten minutes, far fewer than one a second.
		n := len(vendor.readings()) - 1
		if n < 15 || n > 120 {
			t.Errorf("got %d readings in the 10 to 11 minutes of failing, want the backoff's", n)
		}
		if n := s.logs.FilterMessage("the roster cannot be read: the last one stays").Len(); n != 1 {
			t.Errorf("got %d warnings of one failure that goes on, want 1", n)
		}
		if diff := cmp.Diff(metrics(n, 1, began), s.metrics(t)); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
		vendor.set(nil, "a")
		time.Sleep(2 * time.Minute)
		s.saw(t, "a")
		if got := s.Failing(); got != nil || s.logs.FilterMessage("the roster is read again").Len() != 1 {
			t.Errorf("got %v, want it read again and told so", got)
		}
	})
}

func metrics(failed, ok int, success time.Time) string {
	return fmt.Sprintf("failed %d, ok %d, last success %d", failed, ok, success.Unix())
}

func (s *stage) metrics(t *testing.T) string {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += l.GetValue()
			}
			got[labels] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return metrics(int(got["failedsupport"]), int(got["oksupport"]), time.Unix(int64(got["support"]), 0))
}

func TestWatchWaitsAsAsked(t *testing.T) {
	for name, test := range map[string]struct {
		err      error
		min, max time.Duration
	}{
		"Retry-After":  {retry.After(errors.New("429"), 7*time.Minute), 7 * time.Minute, 7 * time.Minute},
		"refused":      {retry.Permanent(errors.New("401")), 150 * time.Second, 5 * time.Minute},
		"anything":     {errors.New("EOF"), 0, time.Second},
		"file trouble": {os.ErrNotExist, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vendor := &script{err: test.err}
				s := watch(t, 24*time.Hour, vendor.read)
				defer s.stop()
				s.saw(t) // nobody is known yet, and nobody is told of
				if got := s.logs.All(); len(got) != 1 || got[0].Message != "the roster cannot be read: nobody is served until it is" {
					t.Errorf("got %v, want one line that does not speak of a last roster", got)
				}
				vendor.set(nil, "a")
				time.Sleep(10 * time.Minute)
				s.saw(t, "a")
				at := vendor.readings()
				if wait := at[1].Sub(at[0]); wait < test.min || wait > test.max {
					t.Errorf("waited %v, want %v to %v", wait, test.min, test.max)
				}
			})
		})
	}
}

// An agent is removed when two readings in a row lack her, be it one agent or all. What fails in between is no reading.
func TestWatchDoubtsAnAbsenceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vendor := &script{ids: []string{"a", "b"}}
		s := watch(t, time.Minute, vendor.read)
		defer s.stop()
		next := func(err error, ids ...string) {
			synctest.Wait()
			vendor.set(err, ids...)
			for n := len(vendor.readings()); len(vendor.readings()) == n; synctest.Wait() {
				time.Sleep(time.Second)
			}
		}
		s.saw(t, "a b")
		next(nil, "a")
		s.saw(t, "a b")
		if n := s.logs.FilterMessageSnippet("not on the roster any more").Len(); n != 1 {
			t.Errorf("got %d lines of an agent who is missing, want 1", n)
		}
		next(nil, "a", "b")
		next(nil, "a", "c")
		s.saw(t, "a b", "a b c") // doubted anew, and who comes is there at once
		next(errors.New("EOF"))
		s.saw(t, "a b", "a b c")
		next(nil, "a", "c")
		s.saw(t, "a b", "a b c", "a c")
		next(nil)
		s.saw(t, "a b", "a b c", "a c")
		next(nil)
		s.saw(t, "a b", "a b c", "a c", "")
		next(nil)
		s.saw(t, "a b", "a b c", "a c", "")
	})
}

// A writer that takes longer than the refresh interval: (head agents; sleep 2.5; tail agents) > file. A long interval does not keep an agent for twice as
// long.
func TestWatchAgreesAfterAWhile(t *testing.T) {
	for every, wait := range map[time.Duration][2]time.Duration{
		time.Second:     {4 * time.Second, 5 * time.Second},
		5 * time.Second: {4500 * time.Millisecond, 5 * time.Second},
		24 * time.Hour:  {time.Minute, time.Minute},
	} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vendor := &script{ids: []string{"a", "b"}}
				s := watch(t, every, vendor.read)
				defer s.stop()
				s.saw(t, "a b")
				vendor.set(nil, "a")
				time.Sleep(every + 10*time.Second + time.Minute)
				s.saw(t, "a b", "a")
				if got := s.toldAt[1].Sub(vendor.readings()[1]); got < wait[0] || got > wait[1] {
					t.Errorf("removed %v after the first reading that lacks her, want %v to %v", got, wait[0], wait[1])
				}
			})
		})
	}
}

func TestWatchMayBeginEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, time.Minute, func(context.Context) ([]string, error) { return nil, nil })
		defer s.stop()
		s.saw(t, "")
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, time.Minute, func(ctx context.Context) ([]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		synctest.Wait()
		s.stop()
		if s.told != nil || s.Failing() != nil || s.logs.Len() != 0 {
			t.Errorf("got %v, %v and %d lines, want nothing told of a reading that the end cut off", s.told, s.Failing(), s.logs.Len())
		}
	})
}

// The ways in which files are replaced: renamed over, and Kubernetes' link to a folder that is exchanged. What is wrong on the way changes nothing.
func TestWatchFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(dir, "..1", "agents"), "WK1\n")
		must(os.Symlink("..1", filepath.Join(dir, "..data")))
		must(os.Symlink(filepath.Join("..data", "agents"), filepath.Join(dir, "agents")))
		path := filepath.Join(dir, "agents")
		read, look := roster.File(config.Path(path), pattern, allowed), make(chan bool)
		s := watch(t, 5*time.Second, func(ctx context.Context) ([]string, error) {
			select {
			case <-look:
				return read(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		defer s.stop()
		next := func(readings int, want string) {
			t.Helper()
			for range readings {
				look <- true
			}
			synctest.Wait()
			if told := s.rosters(); told[len(told)-1] != want {
				t.Fatalf("after %d readings: got %q, want %q", readings, told, want)
			}
		}
		next(1, "WK1")

		write(t, filepath.Join(dir, "..2", "agents"), "WK2\nWK3\n")
		must(os.Symlink("..2", filepath.Join(dir, "..tmp")))
		must(os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
		must(os.RemoveAll(filepath.Join(dir, "..1")))
		next(2, "WK2 WK3")

		must(os.Remove(filepath.Join(dir, "..data")))
		next(2, "WK2 WK3")
		if s.Failing() == nil {
			t.Error("got no failure of a file that is gone")
		}

		write(t, path+".new", "WK4\n")
		must(os.Rename(path+".new", path))
		next(2, "WK4")

		// The same size and the same time: only the content tells.
		info, err := os.Stat(path)
		must(err)
		write(t, path, "WK5\n")
		must(os.Chtimes(path, info.ModTime(), info.ModTime()))
		next(2, "WK5")

		write(t, path, "WK6\nWK")
		next(2, "WK5")
		var p config.Problem
		if err := s.Failing(); !errors.As(err, &p) || p.File != path || p.Line != 2 {
			t.Errorf("got %v, want a problem at %s:2", err, path)
		}

		// As a writer does that does not rename, and takes her time.
		write(t, path, "WK5\nWK6\nWK7\n")
		next(1, "WK5 WK6 WK7")
		must(os.Truncate(path, 0))
		next(1, "WK5 WK6 WK7")
		write(t, path, "WK5\nWK6\nWK7\nWK8\n")
		next(1, "WK5 WK6 WK7 WK8")
		write(t, path, "WK5\n")
		next(1, "WK5 WK6 WK7 WK8")
		write(t, path, "WK5\nWK6\nWK7\nWK8\n")
		next(1, "WK5 WK6 WK7 WK8")
	})
}

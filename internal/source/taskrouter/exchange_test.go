package taskrouter

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Our own time-out, cutting the last repeat short, is no word of the vendor's: it must not turn "stay away" into "at once".
func TestPersistKeepsWhatWasLastAnswered(t *testing.T) {
	deadline := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	budget := func(context.Context) error { return fmt.Errorf("list workers: %w", errBudget) }
	for _, test := range []struct {
		name     string
		answered class
		cut      func(context.Context) error
	}{
		{"503, then cut", later, deadline},
		{"500, then cut", again, deadline},
		{"503, then no room in our budget", later, budget},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				attempts := 0
				f := persist(ctx, snapshotRead, func() *failure {
					if attempts++; attempts == 1 {
						return fail(test.answered, "post_5xx", errors.New("answered"))
					}
					return fail(again, "timeout", test.cut(ctx))
				})
				if attempts != 2 {
					t.Fatalf("got %d attempts, want the second to be the one that is cut", attempts)
				}
				if f.class != test.answered || f.reason != snapshotRead.reason {
					t.Errorf("got class %d and reason %q, want class %d and reason %q", f.class, f.reason, test.answered, snapshotRead.reason)
				}
			})
		})
	}
}

// Cut before anything was answered: nobody asked to be left alone.
func TestPersistWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f := persist(ctx, snapshotRead, func() *failure {
			<-ctx.Done()
			return fail(again, "timeout", ctx.Err())
		})
		if f.class != again {
			t.Errorf("got class %d, want %d", f.class, again)
		}
	})
}

// A rate limit that names no time is not asked again in the second in which it was reached; a fault may be.
func TestPersistStaysAwayFromARateLimit(t *testing.T) {
	for _, test := range []struct {
		name  string
		class class
		least time.Duration
	}{{"429 without Retry-After", later, time.Second}, {"500", again, 0}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var at []time.Time
				_ = persist(ctx, listRead, func() *failure {
					at = append(at, time.Now())
					return fail(test.class, "rest_xxx", errors.New("answered"))
				})
				for i := range len(at) - 1 {
					if wait := at[i+1].Sub(at[i]); wait < test.least || wait > test.least+5*time.Second {
						t.Errorf("repeat %d after %v, want %v and up to 5s more", i+1, wait, test.least)
					}
				}
				if len(at) < 8 {
					t.Errorf("got %d attempts in a minute, want repeats", len(at))
				}
			})
		})
	}
}

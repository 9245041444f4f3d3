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
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
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

package retry_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/retry"
)

func TestMarks(t *testing.T) {
	cause := fmt.Errorf("dial: %w", io.ErrUnexpectedEOF)
	for name, tc := range map[string]struct {
		err       error
		permanent bool
		delay     time.Duration
		reason    string
	}{
		"unmarked":            {cause, false, 0, "other"},
		"permanent":           {retry.Permanent(cause), true, 0, "other"},
		"after":               {retry.After(cause, time.Minute), false, time.Minute, "other"},
		"reason":              {retry.Reason(cause, "close_1006"), false, 0, "close_1006"},
		"permanent in reason": {retry.Reason(retry.Permanent(cause), "unauthorized"), true, 0, "unauthorized"},
		"reason in permanent": {retry.Permanent(retry.Reason(cause, "unauthorized")), true, 0, "unauthorized"},
		"all, wrapped between": {
			fmt.Errorf("a: %w", retry.Permanent(fmt.Errorf("b: %w", retry.After(fmt.Errorf("c: %w", retry.Reason(cause, "limited")), time.Second)))),
			true, time.Second, "limited",
		},
		"outermost reason":           {retry.Reason(retry.Reason(cause, "inner"), "outer"), false, 0, "outer"},
		"outermost delay":            {retry.After(retry.After(cause, time.Hour), time.Second), false, time.Second, "other"},
		"reason under a plain error": {fmt.Errorf("serve: %w", retry.Reason(cause, "silence")), false, 0, "silence"},
		"one of several":             {errors.Join(io.EOF, retry.Permanent(cause)), true, 0, "other"},
		"formatted":                  {retry.Reasonf("http_503", "answer: %w", cause), false, 0, "http_503"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := retry.IsPermanent(tc.err); got != tc.permanent {
				t.Errorf("IsPermanent: got %t, want %t", got, tc.permanent)
			}
			if got := retry.Delay(tc.err); got != tc.delay {
				t.Errorf("Delay: got %s, want %s", got, tc.delay)
			}
			if got := retry.ReasonOf(tc.err); got != tc.reason {
				t.Errorf("ReasonOf: got %q, want %q", got, tc.reason)
			}
			if !errors.Is(tc.err, io.ErrUnexpectedEOF) {
				t.Errorf("errors.Is no longer finds the cause of %v", tc.err)
			}
		})
	}
}

func TestMarksOfNoError(t *testing.T) {
	if retry.IsPermanent(nil) || retry.Delay(nil) != 0 || retry.ReasonOf(nil) != "other" {
		t.Error("nil has marks")
	}
}

func TestMarksKeepTheText(t *testing.T) {
	err := retry.Reason(retry.After(retry.Permanent(errors.New("status 429")), time.Second), "limited")
	if got, want := err.Error(), "status 429"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBackoff(t *testing.T) {
	const s = time.Second
	whole := func() float64 { return 1 }
	type attempt struct{ lived, want time.Duration }
	for name, tc := range map[string]struct {
		backoff  retry.Backoff
		rnd      func() float64
		attempts []attempt
	}{
		"doubles up to the cap": {
			retry.Backoff{Base: s, Cap: 10 * s, Healthy: 60 * s},
			whole,
			[]attempt{{0, 1 * s}, {0, 2 * s}, {0, 4 * s}, {0, 8 * s}, {0, 10 * s}, {0, 10 * s}},
		},
		"a short life does not reset it": {
			retry.Backoff{Base: s, Cap: 10 * s, Healthy: 60 * s},
			whole,
			[]attempt{{0, 1 * s}, {59 * s, 2 * s}, {59 * s, 4 * s}},
		},
		"a healthy spell does": {
			retry.Backoff{Base: s, Cap: 10 * s, Healthy: 60 * s},
			whole,
			[]attempt{{0, 1 * s}, {0, 2 * s}, {0, 4 * s}, {60 * s, 1 * s}, {0, 2 * s}},
		},
		"full jitter": {
			retry.Backoff{Base: s, Cap: 10 * s, Healthy: 60 * s},
			func() float64 { return 0.25 },
			[]attempt{{0, s / 4}, {0, s / 2}, {0, s}, {0, 2 * s}, {0, 2500 * time.Millisecond}},
		},
		"no wait at all is possible": {
			retry.Backoff{Base: s, Cap: 10 * s, Healthy: 60 * s},
			func() float64 { return 0 },
			[]attempt{{0, 0}, {0, 0}},
		},
		"base above the cap": {
			retry.Backoff{Base: 20 * s, Cap: 10 * s, Healthy: 60 * s},
			whole,
			[]attempt{{0, 10 * s}, {0, 10 * s}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i, a := range tc.attempts {
				if got := tc.backoff.Next(a.lived, tc.rnd); got != a.want {
					t.Errorf("attempt %d after a life of %s: got %s, want %s", i+1, a.lived, got, a.want)
				}
			}
		})
	}
}

// Doubling for ever must stay at the cap: a shift too far gives 0 or less, which is a storm of dials.
func TestBackoffNeverOverflows(t *testing.T) {
	for _, base := range []time.Duration{time.Nanosecond, time.Second, time.Hour} {
		b := retry.Backoff{Base: base, Cap: 2 * time.Hour, Healthy: time.Minute}
		last := time.Duration(0)
		for i := range 10_000 {
			got := b.Next(0, func() float64 { return 1 })
			if got < last || got > b.Cap {
				t.Fatalf("base %s, attempt %d: got %s after %s", base, i+1, got, last)
			}
			last = got
		}
		if last != b.Cap {
			t.Errorf("base %s: got %s in the end, want the cap %s", base, last, b.Cap)
		}
	}
}

func TestJitterIsUniform(t *testing.T) {
	var tenths [10]int
	for range 10_000 {
		x := retry.Jitter()
		if x < 0 || x >= 1 {
			t.Fatalf("got %g, want a number in [0, 1)", x)
		}
		tenths[int(x*10)]++
	}
	for i, n := range tenths {
		if n < 700 || n > 1300 { // ten standard deviations
			t.Errorf("tenth %d: %d of 10000, want about 1000", i, n)
		}
	}
}

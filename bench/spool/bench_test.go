package spool

import (
	"io"
	"testing"
	"time"
)

// BenchmarkRun is one round of both, a second each: go test -bench Run -benchtime 1x.
func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		res, err := Run(b.Context(), b.TempDir(), 1, time.Second, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("\n%s", res.Table())
	}
}

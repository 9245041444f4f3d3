package roster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/roster"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agents.txt")
	read := roster.File(config.Path(path), pattern, allowed)
	for name, test := range map[string]struct {
		content string
		want    []string
		problem string // after the path
	}{
		"lines":           {content: "WK1\nWK2\n", want: []string{"WK1", "WK2"}},
		"no line break":   {content: "WK1", want: []string{"WK1"}},
		"comments":        {content: "# the night shift\r\n\r\n  WK1\t# alice\r\nWK2#bob", want: []string{"WK1", "WK2"}},
		"byte order mark": {content: "\uFEFFWK1\r\nWK2\r\n", want: []string{"WK1", "WK2"}},
		"empty":           {},
		"only comments":   {content: "# nobody yet\n"},
		"not an agent":    {content: "WK1\n\npassword: hunter2\n", problem: ":3: not an agent; allowed: WK followed by a digit, one per line; # begins a comment"},
		"two in one line": {content: "WK1 WK2\n", problem: ":1: not an agent; allowed: WK followed by a digit, one per line; # begins a comment"},
		"twice":           {content: "WK1\nWK2\n\nWK1\n", problem: ":4: given twice, first on line 1; allowed: each agent once"},
		"too large":       {content: strings.Repeat("# this is not a roster\n", 200_000), problem: " is larger than 4MiB; is this the right file?"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, path, test.content)
			got, err := read(t.Context())
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("agents (-want +got):\n%s", diff)
			}
			if (err == nil) != (test.problem == "") || err != nil && !strings.HasSuffix(err.Error(), path+test.problem) {
				t.Errorf("got %v, want %q", err, path+test.problem)
			}
			if got := retry.ReasonOf(err); err != nil && got != "file_invalid" {
				t.Errorf("got reason %s, want file_invalid", got)
			}
		})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for p, reason := range map[string]string{
		path: "file_missing", filepath.Dir(path): "file_invalid", path + strings.Repeat("x", 300): "file_unreadable", // no file system has such names
	} {
		if got, err := roster.File(config.Path(p), pattern, allowed)(t.Context()); !strings.HasPrefix(fmt.Sprint(err), "roster file: ") ||
			retry.ReasonOf(err) != reason || got != nil {
			t.Errorf("%s: got %v and %v (%s), want an error with the reason %s", p, got, err, retry.ReasonOf(err), reason)
		}
	}
}

// A roster that does not change costs next to nothing, however long it is.
func TestFileUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agents")
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "WK%d # not parsed again\n", i)
	}
	write(t, path, text.String())
	read := roster.File(config.Path(path), regexp.MustCompile(`^WK[0-9]+$`), allowed)
	once := func() {
		if ids, err := read(t.Context()); len(ids) != 10_000 || err != nil {
			t.Fatalf("got %d ids, %v", len(ids), err)
		}
	}
	once()
	if got := testing.AllocsPerRun(10, once); got > 100 {
		t.Errorf("got %v allocations of a reading of what was read before, want at most 100", got)
	}
}

package roster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
)

// largestFile bounds a roster file in bytes: some 100,000 agents.
const largestFile = 4 << 20

// File reads a roster from the file at path: one id per line that the vendor's pattern matches, allowed says how; blank lines, and what follows a #,
// are not read. A bad line is a [config.Problem] with the file and the line's number, never the line: it may be the wrong file.
// Errors have the reason file_missing, file_unreadable (the system's word: its rights, its disk) or file_invalid (what is in it, or what it is).
//
// The path is opened anew for each reading, and the whole content counts. So a file replaced by renaming and a symbolic link that now leads
// elsewhere, which is how Kubernetes updates a ConfigMap, need no care, nor do clocks and file systems with coarse times. Content that was read
// before is recognised by its hash and not parsed again: a large roster that never changes would be most of what an idle bridge allocates.
func File(path config.Path, pattern *regexp.Regexp, allowed string) Read {
	var known struct {
		sum [sha256.Size]byte
		ids []string
	}
	return func(context.Context) ([]string, error) {
		sum, err := sumFile(string(path))
		if err == nil && known.ids != nil && sum == known.sum {
			return known.ids, nil
		}
		var data []byte
		if err == nil {
			data, err = readFile(string(path))
		}
		if err != nil {
			return nil, fmt.Errorf("roster file: %w", err)
		}
		ids, err := parse(data, path, pattern, allowed)
		if err != nil {
			return nil, err
		}
		known.sum, known.ids = sha256.Sum256(data), ids // what was parsed: the file may have changed since it was summed
		return ids, nil
	}
}

// parse finds the ids in a file's content.
func parse(data []byte, path config.Path, pattern *regexp.Regexp, allowed string) ([]string, error) {
	bad := func(line int, what, allowed string) error {
		return retry.Reason(config.Problem{File: string(path), Line: line, What: what, Allowed: allowed}, "file_invalid")
	}
	var ids []string
	first := map[string]int{}
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\uFEFF"))) { // the byte order mark that some editors write
		number++
		text, _, _ := bytes.Cut(line, []byte("#"))
		id := string(bytes.TrimSpace(text))
		switch {
		case id == "":
			continue
		case !pattern.MatchString(id):
			return nil, bad(number, "not an agent", allowed+", one per line; # begins a comment")
		case first[id] > 0:
			return nil, bad(number, fmt.Sprintf("given twice, first on line %d", first[id]), "each agent once")
		}
		first[id] = number
		ids = append(ids, id)
	}
	slices.Sort(ids) // once, and not by whoever reads the same file again
	return ids, nil
}

// sumFile is the SHA-256 of the file's content.
func sumFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := openFile(path)
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.CopyN(h, f, largestFile+1); err != nil && !errors.Is(err, io.EOF) {
		return sum, retry.Reason(err, "file_unreadable")
	}
	h.Sum(sum[:0])
	return sum, nil
}

func readFile(path string) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	switch {
	case err != nil:
		return nil, retry.Reason(err, "file_unreadable")
	case len(data) > largestFile:
		return nil, retry.Reasonf("file_invalid", "%s is larger than %v; is this the right file?", path, config.Size(largestFile))
	}
	return data, nil
}

func openFile(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, retry.Reason(err, "file_missing")
	}
	if err != nil {
		return nil, retry.Reason(err, "file_unreadable")
	}
	if !info.Mode().IsRegular() { // a pipe would hold the reader until somebody writes, and be empty the next time
		return nil, retry.Reasonf("file_invalid", "%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, retry.Reason(err, "file_unreadable")
	}
	return f, nil
}

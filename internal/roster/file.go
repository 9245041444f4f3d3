package roster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"

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
// elsewhere, which is how Kubernetes updates a ConfigMap, need no care, nor do clocks and file systems with coarse times.
func File(path config.Path, pattern *regexp.Regexp, allowed string) Read {
	return func(context.Context) ([]string, error) {
		data, err := readFile(string(path))
		if err != nil {
			return nil, fmt.Errorf("roster file: %w", err)
		}
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
		return ids, nil
	}
}

func readFile(path string) ([]byte, error) {
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

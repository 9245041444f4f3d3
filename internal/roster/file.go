package roster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/taskbridge/taskbridge/internal/config"
)

// largestFile bounds a roster file in bytes: some 100,000 agents.
const largestFile = 4 << 20

// File reads a roster from the file at path: one id per line that the vendor's pattern matches, allowed says how; blank lines, and what follows a #,
// are not read. A bad line is a [config.Problem] with the file and the line's number, never the line: it may be the wrong file.
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
			return config.Problem{File: string(path), Line: line, What: what, Allowed: allowed}
		}
		var ids []string
		first := map[string]int{}
		number := 0
		for line := range bytes.Lines(data) {
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
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe would hold the reader until somebody writes, and be empty the next time
		return nil, errors.New(path + " is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err == nil && len(data) > largestFile {
		err = fmt.Errorf("%s is larger than %v; is this the right file?", path, config.Size(largestFile))
	}
	return data, err
}

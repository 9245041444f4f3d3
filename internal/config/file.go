package config

import (
	"fmt"
	"io"
	"os"
)

// readAtMost returns the content of the file at path. The caller knows what kind of file it is: to open a pipe waits until somebody writes.
func readAtMost(path string, largest Size) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, int64(largest)+1))
	if err == nil && len(data) > int(largest) {
		err = fmt.Errorf("%s is larger than %v; is this the right file?", path, largest)
	}
	return data, err
}

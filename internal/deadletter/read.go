package deadletter

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// suffix is that of the files, with the version of their format: those of another one are left alone.
const suffix = ".letters1"

// serials lists the files of the folder by their serial number, oldest first.
func serials(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []uint64
	for _, e := range entries {
		if name, ours := strings.CutSuffix(e.Name(), suffix); ours {
			if n, err := strconv.ParseUint(name, 10, 64); err == nil {
				all = append(all, n)
			}
		}
	}
	slices.SortFunc(all, cmp.Compare)
	return all, nil
}

func path(dir string, serial uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%010d%s", serial, suffix))
}

// Each calls found for every letter of the store in dir that f chooses, in the order in which they were set aside, until found returns an
// error, which it returns then. It only reads, and may do so beside a process that has the store open: a letter that is being written is not
// seen. A letter and its data are found's own. corrupt is how many letters could not be read.
func Each(dir string, f Filter, found func(*Letter) error) (corrupt int, err error) {
	all, err := serials(dir)
	if err != nil {
		return 0, err
	}
	for _, n := range all {
		content, err := os.ReadFile(path(dir, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the folder was listed
		}
		if err != nil {
			return corrupt, err
		}
		_, bad, err := scan(content, func(l *Letter, gone bool, _ span) error {
			if gone || !f.Match(l) {
				return nil
			}
			return found(l)
		})
		corrupt += bad
		if err != nil {
			return corrupt, err
		}
	}
	return corrupt, nil
}

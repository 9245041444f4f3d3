package config

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of zero or more, written in Go's syntax with days added in front: "500ms", "30s", "1h30m", "7d", "1d12h".
// A number without unit is refused.
type Duration time.Duration

const day = 24 * time.Hour

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	bad := Problem{What: "not a duration", Allowed: "zero or more with a unit, such as 500ms, 30s, 5m, 1h30m, 7d"}
	rest := string(text)
	var total time.Duration
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return bad
		}
		total, rest = time.Duration(n)*day, after
	}
	if rest != "" || len(text) == 0 {
		span, err := time.ParseDuration(rest)
		if err != nil || span < 0 || span > math.MaxInt64-total {
			return bad
		}
		total += span
	}
	*d = Duration(total)
	return nil
}

// String is the short form: "1m30s", "24h" as "1d".
func (d Duration) String() string {
	if d != 0 && time.Duration(d)%day == 0 {
		return strconv.FormatInt(int64(time.Duration(d)/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Size is a number of bytes: a whole number with a decimal (kB, MB, GB, TB) or binary (KiB, MiB, GiB, TiB) unit, or without: bytes.
type Size int64

var (
	sizeText = regexp.MustCompile(`^(0|[1-9][0-9]*)([A-Za-z]*)$`)
	units    = map[string]int64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	bad := Problem{What: "not a size", Allowed: "a whole number of bytes, or with a unit, such as 64KiB, 256MiB, 1GB"}
	m := sizeText.FindStringSubmatch(string(text))
	if m == nil {
		return bad
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := units[m[2]]
	if err != nil || unit == 0 || n > math.MaxInt64/unit {
		return bad
	}
	*s = Size(n * unit)
	return nil
}

// String uses the largest binary unit that gives a whole number.
func (s Size) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if s != 0 && int64(s)%units[unit] == 0 {
			return strconv.FormatInt(int64(s)/units[unit], 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

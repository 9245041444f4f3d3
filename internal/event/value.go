package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Null is a value that may be absent; absent is rendered as null. A vendor's absent figure is null, never 0.
type Null[T int64 | float64 | bool] struct {
	V  T
	OK bool
}

// Some is a present value.
func Some[T int64 | float64 | bool](v T) Null[T] { return Null[T]{V: v, OK: true} }

// MarshalJSON renders null or the value.
func (n Null[T]) MarshalJSON() ([]byte, error) {
	if !n.OK {
		return []byte("null"), nil
	}
	return json.Marshal(n.V)
}

// UnmarshalJSON reads null or the value.
func (n *Null[T]) UnmarshalJSON(b []byte) error {
	*n = Null[T]{}
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	n.OK = true
	return json.Unmarshal(b, &n.V)
}

// Instant is a point in time in milliseconds since 1970, UTC; 0 is absent. Vendors use 0 for "not yet known" as well.
type Instant int64

// InstantOf truncates t to milliseconds; the zero time is absent.
func InstantOf(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixMilli())
}

// Seconds is the instant of whole seconds since 1970, as vendors write them; 0 is absent.
func Seconds(s int64) Instant { return Instant(s * 1000) }

// Time is the instant in UTC; the zero time where it is absent.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(i)).UTC()
}

const instantLayout = "2006-01-02T15:04:05.000Z"

// append appends the instant in instantLayout. [time.Time.AppendFormat] reads the layout anew each time, and takes several times as long.
func (i Instant) append(b []byte) []byte {
	t := i.Time()
	if !i.Valid() {
		return t.AppendFormat(b, instantLayout)
	}
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(b, instantLayout...)
	text := b[len(b)-len(instantLayout):]
	two(text[0:], year/100)
	two(text[2:], year%100)
	two(text[5:], int(month))
	two(text[8:], day)
	two(text[11:], hour)
	two(text[14:], minute)
	two(text[17:], second)
	two(text[20:], int(i%1000/10))
	text[22] = byte('0' + i%10)
	return b
}

// two writes the two digits of n to the front of b.
func two(b []byte, n int) { b[0], b[1] = byte('0'+n/10), byte('0'+n%10) }

func (i Instant) appendQuoted(b []byte) []byte {
	b = append(b, '"')
	b = i.append(b)
	return append(b, '"')
}

// maxInstant is the last millisecond of the year 9999: RFC 3339 has no later one (section 1: years have four digits).
const maxInstant Instant = 253402300799999

// Valid reports whether RFC 3339 can express the instant: years 1970 to 9999.
func (i Instant) Valid() bool { return i >= 0 && i <= maxInstant }

// String is RFC 3339 UTC with milliseconds, or empty where the instant is absent.
func (i Instant) String() string {
	if i == 0 {
		return ""
	}
	return string(i.append(make([]byte, 0, len(instantLayout))))
}

// MarshalJSON renders null or RFC 3339 text.
func (i Instant) MarshalJSON() ([]byte, error) {
	if i == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(i.String())
}

// UnmarshalJSON reads null or RFC 3339 text.
func (i *Instant) UnmarshalJSON(b []byte) error {
	*i = 0
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	var t time.Time
	if err := json.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("instant: %w", err)
	}
	*i = InstantOf(t)
	return nil
}

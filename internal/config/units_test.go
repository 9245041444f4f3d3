package config

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	tests := []struct {
		text   string
		want   time.Duration // -1: refused
		string string
	}{
		{"30s", 30 * time.Second, "30s"},
		{"500ms", 500 * time.Millisecond, "500ms"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"60m", time.Hour, "1h"},
		{"5m", 5 * time.Minute, "5m"},
		{"90s", 90 * time.Second, "1m30s"},
		{"7d", 7 * 24 * time.Hour, "7d"},
		{"24h", 24 * time.Hour, "1d"},
		{"1d12h", 36 * time.Hour, "36h"},
		{"0", 0, "0s"},
		{"0d", 0, "0s"},
		{"106751d", 106751 * 24 * time.Hour, "106751d"},
		{"106752d", -1, ""},
		{"106751d24h", -1, ""},
		{"-1s", -1, ""},
		{"1d-1h", -1, ""},
		{"-1d", -1, ""},
		{"1.5d", -1, ""},
		{"d", -1, ""},
		{"30", -1, ""},
		{"", -1, ""},
		{"soon", -1, ""},
	}
	for _, test := range tests {
		var d Duration
		err := d.UnmarshalText([]byte(test.text))
		if test.want < 0 {
			if err == nil {
				t.Errorf("%q: got %v, want an error", test.text, d)
			}
			continue
		}
		if err != nil || time.Duration(d) != test.want || d.String() != test.string {
			t.Errorf("%q: got %v (%v, error %v), want %v (%v)", test.text, d, time.Duration(d), err, test.string, test.want)
		}
	}
}

func TestSize(t *testing.T) {
	tests := []struct {
		text   string
		want   int64 // -1: refused
		string string
	}{
		{"0", 0, "0"},
		{"1048576", 1 << 20, "1MiB"},
		{"100B", 100, "100"},
		{"256MiB", 256 << 20, "256MiB"},
		{"1MB", 1e6, "1000000"},
		{"64kB", 64e3, "64000"},
		{"2TiB", 2 << 40, "2TiB"},
		{"8388607TiB", 8388607 << 40, "8388607TiB"},
		{"8388608TiB", -1, ""},
		{"9223372036854775808", -1, ""},
		{"-1", -1, ""},
		{"1.5GiB", -1, ""},
		{"017", -1, ""},
		{"64 MiB", -1, ""},
		{"64Mi", -1, ""},
		{"mib", -1, ""},
		{"", -1, ""},
	}
	for _, test := range tests {
		var s Size
		err := s.UnmarshalText([]byte(test.text))
		if test.want < 0 {
			if err == nil {
				t.Errorf("%q: got %v, want an error", test.text, s)
			}
			continue
		}
		if err != nil || int64(s) != test.want || s.String() != test.string {
			t.Errorf("%q: got %v (%d, error %v), want %v (%d)", test.text, s, int64(s), err, test.string, test.want)
		}
	}
}

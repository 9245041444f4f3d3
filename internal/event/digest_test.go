package event

import "testing"

// Checkpoints keep digests, so they stay what they are.
func TestDigestStays(t *testing.T) {
	for id, want := range map[string]Digest{
		"":                                   {0xef46db3751d8e999, 0xd5afba1336a3be4b},
		"WR00000000000000000000000000000001": {0x04324b90d07c9f79, 0xb662acda7169fbd2},
	} {
		if got := DigestOf(id); got != want {
			t.Errorf("DigestOf(%q): got %#x, want %#x", id, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { DigestOf("WR00000000000000000000000000000001") }); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

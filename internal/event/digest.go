package event

import "github.com/cespare/xxhash/v2"

// Digest stands for an id where very many are remembered: it is small, and has no pointer that a garbage collection would follow. With 128 bits no two ids of
// a vendor's will be met that have the same; somebody who wants to can make some.
type Digest [2]uint64

// DigestOf is the digest of an id: XXH64 with the seeds 0 and 1. It is the same in every version, because checkpoints keep digests.
func DigestOf(id string) Digest {
	var second xxhash.Digest
	second.ResetWithSeed(1)
	_, _ = second.WriteString(id) // cannot fail
	return Digest{xxhash.Sum64String(id), second.Sum64()}
}

package run

import (
	"context"
	"time"

	"github.com/taskbridge/taskbridge/bench/process"
)

// broker is where the events of a stage land, and what the bench knows of it.
type broker interface {
	// start returns when the program's events can be stored; dir is for the broker's files.
	start(ctx context.Context, dir string, under program) error
	// sink is the part of the bridge's configuration that says where this is, limit are the flags that say it to the limit.
	sink() string
	limit() []string
	// end is the place after the newest message. It is nil as long as nothing can be there.
	end(ctx context.Context) (place, error)
	// read gives the messages from one place to another to take, in their order, or in that of each partition.
	read(ctx context.Context, from, to place, take func(id string, stored time.Time, partition int)) error
	// usage is what all its processes have used.
	usage() (process.Usage, error)
	// err says that it has ended.
	err() error
	// stop ends it, or what of it is this stage's. It is called in any case.
	stop() error
}

// place is one in a stream or a topic: by partition, how many messages are before it. Nil: its beginning.
type place []int64

// since is how many messages lie between from and p.
func (p place) since(from place) (n uint64) {
	for i, at := range p {
		n += uint64(at)
		if i < len(from) {
			n -= uint64(from[i])
		}
	}
	return n
}

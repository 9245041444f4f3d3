package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/bench/kafka"
	"github.com/taskbridge/taskbridge/bench/process"
)

// partitions are those of a stage's topic, as many as the bridge makes where it is left to it.
const partitions = 12

// topic is a new topic of the run's Kafka, which goes on after the stage: a JVM is fast only after a while.
type topic struct {
	cluster *kafka.Cluster
	name    string
	made    bool
}

func (t *topic) start(ctx context.Context, _ string, _ program) error {
	t.made = true
	return t.cluster.Create(ctx, t.name, partitions)
}

func (t *topic) sink() string {
	return fmt.Sprintf("kafka: {brokers: [%q], topic: %s}", strings.Join(t.cluster.Brokers, `", "`), t.name)
}

func (t *topic) limit() []string {
	return []string{"-kafka", strings.Join(t.cluster.Brokers, ","), "-topic", t.name}
}

func (t *topic) end(ctx context.Context) (place, error) { return t.cluster.Ends(ctx, t.name) }

func (t *topic) read(ctx context.Context, from, to place, take func(id string, stored time.Time, partition int)) error {
	if from == nil {
		from = make(place, len(to))
	}
	return t.cluster.Read(ctx, t.name, from, to, take)
}

func (t *topic) usage() (process.Usage, error) { return t.cluster.Usage() }
func (t *topic) err() error                    { return t.cluster.Err() }

func (t *topic) stop() error {
	if !t.made {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also after the end of the run's
	defer cancel()
	return t.cluster.Delete(ctx, t.name)
}

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/mapping"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// life is a bridge of the program's own parts, in a process of its own that is this test's executable: it can die by SIGKILL between any two steps, and
// it can leave out what a negative control is about. marks_test.go has what stands between its parts.
type life struct {
	Vendor   simulator.Ready
	Broker   string // host:port of a NATS server
	Window   time.Duration
	Brokers  []string // of a Kafka, in place of that
	Topic    string
	Spool    string
	MaxBytes int64  // of the spool
	Accepted string // a file: the id of every event that was made durable
	Dies     point
	After    int64 // how often it passes the point where it dies
	Without  omission
	Trouble  string // a file: while it is there, the disk has what it says

	passed   atomic.Int64
	out      atomic.Int64 // batches
	accepted accepted
}

// lifeVariable holds a life as JSON; where it is set, this executable is that life and runs no test.
const lifeVariable = "TASKBRIDGE_E2E_LIFE"

// begin runs a life.
func (l *life) begin(t *testing.T) *process {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return spawn(t, self, []string{lifeVariable + "=" + string(text)})
}

// live is the process of the life that the environment tells; the result is its exit code.
func live(text string) int {
	var l life
	err := json.Unmarshal([]byte(text), &l)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = l.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const sourceName, sinkName = "simulator", "facts"

func (l *life) run(ctx context.Context) (err error) {
	log, err := zap.NewProduction(zap.IncreaseLevel(zap.InfoLevel))
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	if err := l.accepted.open(l.Accepted); err != nil {
		return err
	}
	disk, err := spool.Open(spool.Options{
		Dir: l.Spool, MaxBytes: l.MaxBytes, Files: files{spool.OS, l}, Log: log, Registerer: reg,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	letters, err := deadletter.Open(deadletter.Options{Dir: filepath.Join(l.Spool, deadletter.Dir), Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, letters.Close()) }()

	to, err := l.sink(log, reg)
	if err != nil {
		return err
	}
	var vendor taskrouter.Config
	vendor.SetDefaults()
	vendor.Account, vendor.Workspace, vendor.APIKey, vendor.APISecret = l.Vendor.Account, l.Vendor.Workspace, l.Vendor.APIKey, config.NewSecret(l.Vendor.APISecret)
	vendor.EventBridgeURL = l.Vendor.EventBridgeURL
	src, err := taskrouter.New(vendor, log, nil)
	if err != nil {
		return err
	}
	policy, err := mapping.NewPolicy(mapping.PrivacyConfig{}, nil)
	if err != nil {
		return err
	}
	b, err := bridge.New(
		bridge.Options{BridgeID: "life", Silence: patient},
		map[string]bridge.Feed{sourceName: {Source: listening{src, l}, Mapper: mapping.NewTaskRouter(policy)}},
		&keeping{Disk: disk, life: l}, map[string]sink.Sink{sinkName: confirming{to, l}}, letters, log, reg)
	if err != nil {
		return err
	}
	var roster []source.Agent
	for _, w := range l.Vendor.Workers {
		a := vendor.Agent(w)
		a.Source = sourceName
		roster = append(roster, a)
	}
	if err := b.SetRoster(map[string][]source.Agent{sourceName: roster}); err != nil {
		return err
	}
	to.Connect(ctx)
	return b.Run(ctx)
}

// connected is a sink that begins to connect when it is told to.
type connected interface {
	sink.Sink
	Connect(ctx context.Context)
}

func (l *life) sink(log *zap.Logger, reg prometheus.Registerer) (connected, error) {
	if l.Topic != "" {
		var c kafka.Config
		c.SetDefaults()
		c.Brokers, c.Topic = l.Brokers, l.Topic
		return kafka.New(c, nil, log, reg)
	}
	var c jetstream.Config
	c.SetDefaults()
	c.URL, c.Stream, c.DuplicateWindow = "nats://"+l.Broker, "FACTS", config.Duration(l.Window)
	return jetstream.New(c, log, reg)
}

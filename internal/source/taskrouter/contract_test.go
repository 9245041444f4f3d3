package taskrouter

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

func TestContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		var stage atomic.Int32
		stage.Store(int32(sourcetest.Live))
		held := make(chan struct{}, 8)
		v := newVendor(t)
		v.onDial = func(_ http.ResponseWriter, r *http.Request) bool {
			if sourcetest.Stage(stage.Load()) != sourcetest.Dialing {
				return false
			}
			held <- struct{}{}
			v.stall(r)
			return true
		}
		v.onPost = func(http.ResponseWriter, posted) bool {
			if sourcetest.Stage(stage.Load()) != sourcetest.CatchingUp {
				return false
			}
			held <- struct{}{}
			<-v.closing
			return true
		}
		v.Start()
		s := newSource(t, v.URL, func(c *Config) { // so long that only ctx can have ended a session in time
			long := config.Duration(5 * time.Minute)
			c.DialTimeout, c.InitTimeout, c.SnapshotTimeout, c.RequestTimeout = long, long, long, long
		})
		return sourcetest.Fixture{
			Source: s, Agent: *s.testAgent(), Held: held,
			Hold: func(to sourcetest.Stage) { stage.Store(int32(to)) },
			Push: func(body string) {
				for _, p := range v.all() {
					p.send(body)
				}
			},
			Cut: func() {
				for _, p := range v.all() {
					p.closeWith(1001, "")
				}
			},
		}
	})
}

func TestAgainstTheSimulator(t *testing.T) {
	sim, err := simulator.New(simulator.Options{Workers: 3, Rate: 200, Seed: 1, Heartbeat: 50 * time.Millisecond}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sim.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("simulator: %v", err)
		}
	}()
	ready := sim.Ready()
	cfg := testConfig("")
	cfg.Account, cfg.Workspace, cfg.APIKey, cfg.APISecret = ready.Account, ready.Workspace, ready.APIKey, config.NewSecret(ready.APISecret)
	cfg.EventBridgeURL, cfg.SnapshotChannels = ready.EventBridgeURL, true
	s, err := New(cfg, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.client.CloseIdleConnections()
	var sessions []*sourcetest.Session
	for _, worker := range ready.Workers {
		sessions = append(sessions, sourcetest.Start(t, s, cfg.Agent(worker)))
	}
	for _, x := range sessions {
		x.Wait("a snapshot, a heartbeat and 20 frames", func(calls []sourcetest.Call) bool {
			frames, beats, states := 0, 0, 0
			for _, c := range calls {
				switch {
				case c.Feed == source.State:
					states++
				case c.Verb == sourcetest.Frame:
					frames++
				case c.Verb == sourcetest.Beat:
					beats++
				}
			}
			return states == 1 && beats > 1 && frames > 20
		})
		x.Cancel()
		_ = x.End()
	}
	if err := sim.State().OnlyObserved(); err != nil {
		t.Error(err)
	}
}

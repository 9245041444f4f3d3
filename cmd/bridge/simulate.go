package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

func newSimulateCommand() *cobra.Command {
	simulate := &cobra.Command{
		Use:     "simulate",
		Short:   "Simulate a vendor's side of the wire",
		Long:    `Simulate a vendor's side of the wire, for trying the bridge and for tests: no account and no network are needed.`,
		Example: "  bridge simulate taskrouter",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to simulate: bridge simulate taskrouter")}
		},
	}
	simulate.AddCommand(newSimulateTaskRouterCommand())
	return simulate
}

func newSimulateTaskRouterCommand() *cobra.Command {
	var (
		o                  taskrouter.Options
		secret, secretFile string
	)
	cmd := &cobra.Command{
		Use:   "taskrouter",
		Short: "Simulate Twilio TaskRouter: worker WebSockets, commands, REST and a workspace that lives",
		Long: `Simulate Twilio TaskRouter: worker WebSockets (protocol v2), the commands of a worker's own client, the REST lists, and a workspace whose workers,
tasks and reservations live on. When it is ready, it prints one line of JSON with its URLs, the credentials it accepts and the SIDs of its workers; then
it runs until a signal stops it. Workers, activities and channels have the same SIDs for the same --seed.

Below control_url: GET /ready (that line again), GET /ledger (every event it has told, as NDJSON), GET /state (what it saw clients do), POST /do (let
something happen), POST /fault (disturb it). docs/simulator.md describes them. Everyone who can reach it may use all that: let it listen on a loopback
address.`,
		Example: `  bridge simulate taskrouter
  bridge simulate taskrouter --workers 50 --rate 200 --listen 127.0.0.1:0
  curl -d '{"kind":"reset"}' http://127.0.0.1:8090/_sim/fault   # reset every socket
  curl -d '{"do":"worker.add"}' http://127.0.0.1:8090/_sim/do   # hire one more worker`,
		Args:        cobra.NoArgs,
		Annotations: stopsInOrder,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if secret != "" && secretFile != "" {
				return usageError{errors.New("give --api-secret or --api-secret-file, not both")}
			}
			read, err := config.ReadSecret(config.NewSecret(secret), config.Path(secretFile))
			if err != nil {
				return usageError{err}
			}
			o.APISecret = read.Reveal()
			if o.Workers == 0 { // which would be the default
				return usageError{errors.New("--workers 0: at least 1")}
			}
			if err := o.Validate(); err != nil {
				return usageError{err}
			}
			log := newLogger(loggingConfig{Level: "info", Format: "console"}, cmd.ErrOrStderr())
			sim, err := taskrouter.New(o, log.Named("simulator"))
			if err != nil {
				return err
			}
			// Whoever reads the line may dial at once: the listener is open, and Run follows.
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(sim.Ready()); err != nil {
				log.Warn("the ready line could not be printed", zap.Error(err))
			}
			return sim.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8090", "host:port to listen on; port 0 takes any free one")
	f.IntVar(&o.Workers, "workers", 10, "workers in the workspace")
	f.Float64Var(&o.Rate, "rate", 10, "events per second over all workers; 0: none")
	f.Uint64Var(&o.Seed, "seed", 1, "decides SIDs and the sequence of events")
	f.DurationVar(&o.Heartbeat, "heartbeat", 15*time.Second, "between two heartbeats on a socket")
	f.DurationVar(&o.TokenLifetime, "token-lifetime", 0, "end sessions after this time even if their token lives longer; 0: when the token expires")
	f.IntVar(&o.Sockets, "sockets-per-worker", 0, "sockets of one worker at the same time; further upgrades get 429; 0: any number")
	f.BoolVar(&o.Flex, "flex", false, "the workspace is one of Flex: a worker without a socket goes offline")
	f.DurationVar(&o.OfflineAfter, "offline-after", 30*time.Second, "with --flex, how long after a lost connection; after a clean close 1 s, if that is less")
	f.IntVar(&o.PageSize, "page-size", 1000, "most entries on a page of a REST list, also if more are asked for")
	f.StringVar(&o.Account, "account", "", "account SID (default AC…01)")
	f.StringVar(&o.Workspace, "workspace", "", "workspace SID (default WS…01)")
	f.StringVar(&o.APIKey, "api-key", "", "SID of the API key to accept (default SK…01)")
	f.StringVar(&secret, "api-secret", "", "the API key's secret, for invented ones only: everyone on this machine can read a command line")
	f.StringVar(&secretFile, "api-secret-file", "", "file with the API key's secret (default: a fixed one, which the ready line tells)")
	return cmd
}

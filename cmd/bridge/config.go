package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/roster"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
	"github.com/taskbridge/taskbridge/internal/sink/kafka"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// configuration is the whole file.
type configuration struct {
	Sources     []sourceConfig     `yaml:"sources"`
	Sinks       []sinkConfig       `yaml:"sinks"`
	Privacy     privacyConfig      `yaml:"privacy"`
	Bridge      bridgeConfig       `yaml:"bridge"`
	Spool       spoolConfig        `yaml:"spool"`
	DeadLetters deadLettersConfig  `yaml:"dead_letters"`
	Logging     loggingConfig      `yaml:"logging"`
	Health      admin.HealthConfig `yaml:"health"`
	Admin       admin.Config       `yaml:"admin"`
}

// sourceConfig is one vendor account with its agents; exactly one kind is set.
type sourceConfig struct {
	Name       string            `yaml:"name"`
	TaskRouter *taskRouterConfig `yaml:"taskrouter"`
}

// taskRouterConfig is a TaskRouter workspace and who is listened to there.
type taskRouterConfig struct {
	taskrouter.Config `yaml:",inline"`
	Agents            roster.Config `yaml:"agents"`
}

// Validate implements config.Validator: of the vendor's settings, and of what the roster asks of them. A roster's file is tried out.
func (c *taskRouterConfig) Validate() error {
	var ps config.Problems
	c.Agents.Match(&ps, "agents", taskrouter.WorkerSID, taskrouter.WorkerSIDForm)
	if c.Agents.File != "" {
		if _, err := roster.File(c.Agents.File, taskrouter.WorkerSID, taskrouter.WorkerSIDForm)(context.Background()); err != nil {
			ps.Add("agents.file", err.Error(), "")
		}
	}
	err := errors.Join(c.Config.Validate(), ps.Err())
	if c.Agents.Listed() {
		err = errors.Join(err, c.CanList())
	}
	return err
}

// sinkConfig is one broker, and what it gets; exactly one kind is set.
type sinkConfig struct {
	// Name is the sink's in logs, metrics, dead letters and the spool, which knows by it what is delivered: another name is another sink.
	Name   string      `yaml:"name"`
	Filter sink.Filter `yaml:"filter"`
	// Start is where a sink begins that is new to the spool: with the oldest event still there (oldest, the default), or with what comes next (now).
	Start string            `yaml:"start"`
	NATS  *jetstream.Config `yaml:"nats"`
	Kafka *kafka.Config     `yaml:"kafka"`
}

// SetDefaults implements config.Defaulter.
func (s *sinkConfig) SetDefaults() { s.Start = "oldest" }

// bridgeConfig is what bridge.Options takes; the defaults are the ones named there.
type bridgeConfig struct {
	ID           string          `yaml:"id"`           // default: the host's name
	PartitionBy  string          `yaml:"partition_by"` // task (default), agent
	DialRate     float64         `yaml:"dial_rate"`    // sessions that begin in a second, at most
	SilenceLimit config.Duration `yaml:"silence_limit"`
	RefusedRetry config.Duration `yaml:"refused_retry"`
	Stop         string          `yaml:"stop"` // auto (default), fast, drain
	DrainTimeout config.Duration `yaml:"drain_timeout"`
}

// spoolConfig is the log in files: spool.Options.
type spoolConfig struct {
	Dir      config.Path `yaml:"dir"`      // default: the folder spool beside the configuration file
	Survives string      `yaml:"survives"` // power_loss (default), process_crash
	MaxBytes config.Size `yaml:"max_bytes"`
	Full     string      `yaml:"full"` // gap (default), skip_slowest
}

// privacyConfig is mapping.PrivacyConfig as the file has it: its key file starts from the file's folder.
type privacyConfig struct {
	AgentAttributes map[string]string `yaml:"agent_attributes"`
	TaskAttributes  map[string]string `yaml:"task_attributes"`
	FreeText        string            `yaml:"free_text"`
	AgentName       string            `yaml:"agent_name"`
	HashKeyFile     config.Path       `yaml:"hash_key_file"`
	Raw             bool              `yaml:"raw"`
}

// configFlag adds the flag that every command with a configuration has.
func configFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("config", "c", "", "the configuration `file`")
}

// loadConfig reads and checks the configuration; the error holds every problem and is a usageError.
func loadConfig(path string) (*configuration, error) {
	if path == "" {
		return nil, usageError{errors.New("no configuration: name one with -c FILE. " +
			"configs/taskrouter-nats.yaml is a commented one to start from; configs/evaluation.yaml needs neither an account nor a broker")}
	}
	var c configuration
	c.setDefaults(filepath.Dir(path))
	if err := config.Load(path, &c); err != nil {
		return nil, usageError{err}
	}
	return &c, nil
}

// setDefaults is for a configuration file in dir.
func (c *configuration) setDefaults(dir string) {
	host, _ := os.Hostname() // without one the id is missing, and that says so
	c.Bridge = bridgeConfig{
		ID: host, PartitionBy: "task", DialRate: 50, SilenceLimit: config.Duration(30 * time.Second),
		RefusedRetry: config.Duration(5 * time.Minute), Stop: "auto", DrainTimeout: config.Duration(20 * time.Second),
	}
	c.Spool.setDefaults(dir)
	c.DeadLetters.SetDefaults()
	c.Logging.SetDefaults()
	c.Health.SetDefaults()
	c.Admin.SetDefaults()
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

const nameAllowed = "1 to 32 lower-case letters, digits and -"

// Validate implements config.Validator: what concerns several sources or sinks together.
func (c *configuration) Validate() error {
	var ps config.Problems
	if len(c.Sources) == 0 {
		ps.Add("sources", "missing", "a list of at least one source")
	}
	if len(c.Sinks) == 0 {
		ps.Add("sinks", "missing", "a list of at least one sink")
	}
	sources, sinks := map[string]int{}, map[string]int{}
	agents := map[string]int{} // by id: who serves her
	all := map[string]int{}    // by workspace: who serves everybody there
	for i, s := range c.Sources {
		unique(&ps, "sources", i, s.Name, sources)
		if s.TaskRouter == nil {
			continue
		}
		if s.TaskRouter.Agents.All {
			if other, taken := all[s.TaskRouter.Workspace]; taken {
				ps.Add(fmt.Sprintf("sources[%d].taskrouter.agents", i), fmt.Sprintf("sources[%d] serves all agents of this workspace too", other), "each agent in one source")
			}
			all[s.TaskRouter.Workspace] = i
		}
		for j, id := range s.TaskRouter.Agents.IDs {
			if other, taken := agents[id]; taken && other != i {
				ps.Add(fmt.Sprintf("sources[%d].taskrouter.agents[%d]", i, j), fmt.Sprintf("served by sources[%d] too", other), "each agent in one source")
				continue
			}
			agents[id] = i
		}
	}
	providers, accounts := c.served()
	for i, s := range c.Sinks {
		unique(&ps, "sinks", i, s.Name, sinks)
		for j, other := range c.Sinks[:i] {
			switch {
			case s.NATS != nil && other.NATS != nil:
				if key := clash(s.NATS, other.NATS); key != "" {
					ps.Add(fmt.Sprintf("sinks[%d].nats.%s", i, key), fmt.Sprintf("in common with sinks[%d], on one server", j), clashAllowed[key])
				}
			case s.Kafka != nil && other.Kafka != nil:
				if topic := commonTopic(s.Kafka, other.Kafka, c.origins()); topic != "" {
					ps.Add(fmt.Sprintf("sinks[%d].kafka.topic", i), fmt.Sprintf("%s is also of sinks[%d], on one cluster", topic, j),
						"each topic in one sink: what both get would be stored twice")
				}
			}
		}
		s.Filter.Problems(providers, accounts, func(path, what, allowed string) {
			ps.Add(fmt.Sprintf("sinks[%d].filter.%s", i, path), what, allowed)
		})
		if s.Kafka != nil {
			if _, err := s.Kafka.Topics(c.origins()); err != nil && config.Validate(s.Kafka) == nil {
				ps.Add(fmt.Sprintf("sinks[%d].kafka.topic", i), err.Error(), kafka.TopicAllowed)
			}
		}
	}
	if sameAddress(c.Health.Listen, c.Admin.Listen) {
		ps.Add("admin.listen", "the address of health.listen too", "another port; off")
	}
	return ps.Err()
}

// served lists the vendors of the sources, and the accounts there.
func (c *configuration) served() (providers []event.Provider, accounts []string) {
	for _, s := range c.Sources {
		if s.TaskRouter == nil {
			continue
		}
		if !slices.Contains(providers, event.Twilio) {
			providers = append(providers, event.Twilio)
		}
		if !slices.Contains(accounts, s.TaskRouter.Account) {
			accounts = append(accounts, s.TaskRouter.Account)
		}
	}
	return providers, accounts
}

// sameAddress reports whether one process cannot listen on both: any free port is never the same.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	everywhere := func(host string) bool { return host == "" || net.ParseIP(host).IsUnspecified() }
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}

// unique notes the name of list[i] when an earlier one has it; first is the list's memory.
func unique(ps *config.Problems, list string, i int, name string, first map[string]int) {
	if j, taken := first[name]; taken && name != "" {
		ps.Add(fmt.Sprintf("%s[%d].name", list, i), fmt.Sprintf("the name of %s[%d] too", list, j), "each name once")
		return
	}
	first[name] = i
}

// Validate implements config.Validator. A section without problems is tried out, so that a secret file that cannot be used is found now.
func (s *sourceConfig) Validate() error {
	var ps config.Problems
	ps.Match("name", s.Name, namePattern, nameAllowed)
	if s.TaskRouter == nil {
		ps.Add("", "no kind of source", "exactly one of taskrouter")
		return ps.Err()
	}
	if config.Validate(s.TaskRouter) == nil {
		try(&ps, "taskrouter", s.check)
	}
	return ps.Err()
}

// Validate implements config.Validator, as for a source.
func (s *sinkConfig) Validate() error {
	var ps config.Problems
	ps.Match("name", s.Name, namePattern, nameAllowed)
	ps.OneOf("start", s.Start, "oldest", "now")
	switch {
	case s.NATS == nil && s.Kafka == nil:
		ps.Add("", "no kind of sink", "exactly one of nats, kafka")
	case s.NATS != nil && s.Kafka != nil:
		ps.Add("kafka", "set together with nats", "exactly one of nats, kafka")
	case s.NATS != nil && config.Validate(s.NATS) == nil:
		try(&ps, "nats", s.check)
	case s.Kafka != nil && config.Validate(s.Kafka) == nil:
		try(&ps, "kafka", s.check)
	}
	return ps.Err()
}

// try notes what check finds; a problem with a path of its own keeps it.
func try(ps *config.Problems, path string, check func() error) {
	err := check()
	var p config.Problem
	switch {
	case errors.As(err, &p):
		ps.Add(path+"."+p.Path, p.What, p.Allowed)
	case err != nil:
		ps.Add(path, err.Error(), "")
	}
}

// Validate implements config.Validator.
func (c *bridgeConfig) Validate() error {
	var ps config.Problems
	ps.Match("id", c.ID, idPattern, "1 to 64 letters, digits, . _ and -; the default is the host's name")
	ps.OneOf("partition_by", c.PartitionBy, "task", "agent")
	ps.OneOf("stop", c.Stop, "auto", "fast", "drain")
	config.Between(&ps, "dial_rate", c.DialRate, 0.1, 1000)
	config.Between(&ps, "silence_limit", c.SilenceLimit, config.Duration(time.Second), config.Duration(10*time.Minute))
	config.Between(&ps, "refused_retry", c.RefusedRetry, config.Duration(time.Second), config.Duration(24*time.Hour))
	config.Between(&ps, "drain_timeout", c.DrainTimeout, config.Duration(100*time.Millisecond), config.Duration(time.Hour))
	return ps.Err()
}

// options are the bridge's; with stop: auto it delivers at its end only what no later start would find.
func (c *configuration) options() bridge.Options {
	b := &c.Bridge
	o := bridge.Options{
		BridgeID: b.ID, PartitionByAgent: b.PartitionBy == "agent", DialRate: b.DialRate, Silence: time.Duration(b.SilenceLimit),
		RefusedRetry: time.Duration(b.RefusedRetry), Cursors: map[string]spool.CursorOptions{},
	}
	for _, s := range c.Sinks {
		o.Cursors[s.Name] = spool.CursorOptions{Keep: s.Filter.Keep(), Now: s.Start == "now"}
	}
	if b.Stop == "drain" || b.Stop == "auto" && ephemeral(string(c.Spool.Dir)) {
		o.Drain = time.Duration(b.DrainTimeout)
	}
	return o
}

func (c *spoolConfig) setDefaults(dir string) {
	*c = spoolConfig{Dir: config.Path(filepath.Join(dir, "spool")), Survives: "power_loss", MaxBytes: 8 << 30, Full: "gap"}
}

// Validate implements config.Validator.
func (c *spoolConfig) Validate() error {
	var ps config.Problems
	ps.OneOf("survives", c.Survives, "power_loss", "process_crash")
	config.Between(&ps, "max_bytes", c.MaxBytes, 32<<20, 1<<40)
	ps.OneOf("full", c.Full, "gap", "skip_slowest")
	return ps.Err()
}

// open opens the log; the caller closes it.
func (c *spoolConfig) open(log *zap.Logger, reg prometheus.Registerer) (*spool.Disk, error) {
	survives := spool.PowerLoss
	if c.Survives == "process_crash" {
		survives = spool.ProcessCrash
	}
	return spool.Open(spool.Options{
		Dir: string(c.Dir), Survives: survives, MaxBytes: int64(c.MaxBytes), SkipSlowest: c.Full == "skip_slowest", Log: log, Registerer: reg,
	})
}

// Validate implements config.Validator. The problems of mapping begin with their path, which has a place in the file.
func (c *privacyConfig) Validate() error {
	_, err := c.policy()
	if err == nil {
		return nil
	}
	var ps config.Problems
	for line := range strings.Lines(err.Error()) {
		path, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		ps.Add(path, what, "")
	}
	return ps.Err()
}

// policy reads the hash key, where there is one.
func (c *privacyConfig) policy() (*mapping.Policy, error) {
	key, err := config.ReadSecret(config.Secret{}, c.HashKeyFile)
	if err != nil {
		return nil, fmt.Errorf("hash_key_file: %w", err)
	}
	return mapping.NewPolicy(mapping.PrivacyConfig{
		AgentAttributes: c.AgentAttributes, TaskAttributes: c.TaskAttributes, FreeText: c.FreeText, AgentName: c.AgentName,
		HashKeyFile: string(c.HashKeyFile), Raw: c.Raw,
	}, []byte(key.Reveal()))
}

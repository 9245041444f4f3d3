package main

import (
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/deadletter"
)

// deadLettersConfig bounds the store of dead letters; the defaults are those of deadletter.Options.
type deadLettersConfig struct {
	MaxBytes config.Size     `yaml:"max_bytes"`
	MaxAge   config.Duration `yaml:"max_age"`
}

// SetDefaults implements config.Defaulter.
func (c *deadLettersConfig) SetDefaults() {
	*c = deadLettersConfig{MaxBytes: 256 << 20, MaxAge: config.Duration(30 * 24 * time.Hour)}
}

// Validate implements config.Validator.
func (c *deadLettersConfig) Validate() error {
	var ps config.Problems
	config.Between(&ps, "max_bytes", c.MaxBytes, 1<<20, 1<<40)
	config.Between(&ps, "max_age", c.MaxAge, config.Duration(time.Hour), config.Duration(3650*24*time.Hour))
	return ps.Err()
}

// deadLetters opens the store beside the spool; the caller closes it.
func (c *configuration) deadLetters(log *zap.Logger, reg prometheus.Registerer) (*deadletter.Store, error) {
	return deadletter.Open(deadletter.Options{
		Dir: deadLettersDir(string(c.Spool.Dir)), MaxBytes: int64(c.DeadLetters.MaxBytes), MaxAge: time.Duration(c.DeadLetters.MaxAge), Log: log, Registerer: reg,
	})
}

func deadLettersDir(spool string) string { return filepath.Join(spool, deadletter.Dir) }

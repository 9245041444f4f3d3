package main

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/taskbridge/taskbridge/internal/config"
)

// loggingConfig is the logging section.
type loggingConfig struct {
	Level  string `yaml:"level"`  // debug, info (default), warn, error
	Format string `yaml:"format"` // json (default), console
}

// SetDefaults implements config.Defaulter.
func (c *loggingConfig) SetDefaults() { *c = loggingConfig{Level: "info", Format: "json"} }

// Validate implements config.Validator.
func (c *loggingConfig) Validate() error {
	var ps config.Problems
	ps.OneOf("level", c.Level, "debug", "info", "warn", "error")
	ps.OneOf("format", c.Format, "json", "console")
	return ps.Err()
}

// newLogger writes to w; c is valid.
func newLogger(c loggingConfig, w io.Writer) *zap.Logger {
	log, _ := newLeveledLogger(c, w)
	return log
}

// newLeveledLogger also returns the level, which may be changed at any time.
func newLeveledLogger(c loggingConfig, w io.Writer) (*zap.Logger, zap.AtomicLevel) {
	level := zap.NewAtomicLevel()            // info
	_ = level.UnmarshalText([]byte(c.Level)) // valid
	encoder := zap.NewProductionEncoderConfig()
	encoder.TimeKey, encoder.EncodeTime, encoder.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	encoding := zapcore.NewJSONEncoder(encoder)
	if c.Format == "console" {
		encoder.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding = zapcore.NewConsoleEncoder(encoder)
	}
	return zap.New(zapcore.NewCore(encoding, zapcore.Lock(zapcore.AddSync(w)), level)), level
}

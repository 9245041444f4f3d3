package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/config"
)

// adminTimeout bounds one question to an admin listener.
const adminTimeout = 10 * time.Second

// adminFlags adds the flags that every client of an admin listener has, and returns what makes the client of them.
func adminFlags(cmd *cobra.Command) func() (admin.Client, error) {
	file := configFlag(cmd)
	address := cmd.Flags().String("admin", "", "the running bridge's admin `address` (default: the configuration's, else 127.0.0.1:8081)")
	return func() (admin.Client, error) {
		var c struct {
			Admin admin.Config `yaml:"admin"`
		}
		c.Admin.SetDefaults()
		if *address != "" {
			c.Admin.Listen = *address
			if c.Admin.Listen == admin.Off || c.Admin.Validate() != nil {
				return admin.Client{}, usageError{fmt.Errorf("--admin %s: not a loopback address with a port, such as 127.0.0.1:8081 or [::1]:8081", *address)}
			}
		} else if *file != "" {
			if err := config.LoadPart(*file, &c); err != nil {
				return admin.Client{}, usageError{err}
			}
		}
		if c.Admin.Listen == admin.Off {
			return admin.Client{}, usageError{fmt.Errorf("%s: admin.listen is off: that bridge has no admin listener", *file)}
		}
		return admin.Client{Address: c.Admin.Listen}, nil
	}
}

var logLevels = []string{"debug", "info", "warn", "error"}

func newLogLevelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "loglevel [debug|info|warn|error]",
		Short: "Show or change the log level of a running bridge",
		Long:  `Show the log level of a running bridge on this machine, or change it until that bridge ends.`,
		Example: `  bridge loglevel
  bridge loglevel debug -c bridge.yaml`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: logLevels,
	}
	client := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
		defer cancel()
		if len(args) == 1 {
			if err := c.SetLogLevel(ctx, args[0]); err != nil {
				return err
			}
		}
		level, err := c.LogLevel(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), level)
		return err
	}
	return cmd
}

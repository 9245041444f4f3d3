package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
)

func newTokenCommand() *cobra.Command {
	token := &cobra.Command{
		Use:     "token",
		Short:   "Make an access token, for debugging with a vendor's own SDK",
		Long:    `Make an access token as the bridge uses them, for debugging with a vendor's own SDK.`,
		Example: "  bridge token taskrouter -c bridge.yaml WK00000000000000000000000000000000",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say whose token: bridge token taskrouter")}
		},
	}
	token.AddCommand(newTokenTaskRouterCommand())
	return token
}

func newTokenTaskRouterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "taskrouter -c FILE WORKER",
		Short: "Make a TaskRouter access token for one worker",
		Long: `Make a TaskRouter access token for one worker, signed with the API key of the configuration. The token alone goes to standard output. Nothing is
dialled: whether Twilio accepts it is found out by whoever uses it, for instance by new Worker(token) of the npm package
twilio-taskrouter.

Whoever has the token can act as that worker until it expires: change her activity, accept, reject and complete. It cannot be
revoked alone, only with its API key. Do not paste it anywhere.`,
		Example: `  bridge token taskrouter -c bridge.yaml WK00000000000000000000000000000000
  bridge token taskrouter -c bridge.yaml --source support WK00000000000000000000000000000000`,
		Args: cobra.ExactArgs(1),
	}
	file := configFlag(cmd)
	name := cmd.Flags().String("source", "", "`name` of the source in the configuration; needed when it has several")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !taskrouter.WorkerSID.MatchString(args[0]) {
			return usageError{errors.New("the worker: " + taskrouter.WorkerSIDForm)}
		}
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		section, err := c.taskRouterSource(*name)
		if err != nil {
			return usageError{err}
		}
		src, err := taskrouter.New(section.Config, zap.NewNop(), nil)
		if err != nil {
			return err
		}
		token, expires, err := src.Token(args[0])
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "Until %s this token can act as worker %s: change her activity, accept and complete. Treat it as her password.\n",
			expires.Format("15:04:05 MST"), args[0])
		_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
		return err
	}
	return cmd
}

// taskRouterSource is the source of that name; without a name, the only one.
func (c *configuration) taskRouterSource(name string) (*taskRouterConfig, error) {
	var names []string
	var found []*taskRouterConfig
	for _, s := range c.Sources {
		if s.TaskRouter == nil {
			continue
		}
		names = append(names, s.Name)
		if name == "" || s.Name == name {
			found = append(found, s.TaskRouter)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("choose a source with --source: %s", strings.Join(names, ", "))
	}
	return found[0], nil
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newRootCommand(abort <-chan struct{}) *cobra.Command {
	root := &cobra.Command{
		Use:   "bridge",
		Short: "Publish what contact-centre agents' WebSocket sessions tell",
		Long: `bridge holds one WebSocket session per agent of a contact centre, turns what the vendor tells into one vocabulary of CloudEvents and
publishes them to NATS JetStream or Kafka: in order per agent and task, each stored once, and every stretch in which it could not listen told as a gap.`,
		Example: `  bridge demo                             # everything on this machine, judged
  bridge simulate taskrouter              # a contact centre to try it with, in one terminal
  bridge run -c configs/evaluation.yaml   # and the bridge in another
  bridge validate -c bridge.yaml          # check a configuration and show what it would run`,
		SilenceUsage:  true, // a failed run is not a misunderstanding of the command line
		SilenceErrors: true, // main tells the error, once

		SuggestionsMinimumDistance: 1, // with 2, dlq would be offered for almost any three letters
	}
	root.AddCommand(
		newDemoCommand(),
		newRunCommand(abort),
		newValidateCommand(),
		newSimulateCommand(),
		newTapCommand(),
		newDrainCommand(),
		newSpoolCommand(),
		newAgentsCommand(),
		newLogLevelCommand(),
		newDLQCommand(),
		newTokenCommand(),
		newSchemaCommand(),
		newVersionCommand(),
	)
	return root
}

// stopsInOrder are the annotations of a command that has something to end: after the first signal it is waited for. Every other command ends with that
// signal, whatever it waits for, be it a file on a dead file system.
var stopsInOrder = map[string]string{"stops": "in order"}

// execute runs the command that the arguments name until it returns or, unless it stopsInOrder, ctx ends. What fails before the command itself has
// begun is the command line's fault.
func execute(ctx context.Context, root *cobra.Command, args []string) error {
	begun := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		err := cmd.ValidateFlagGroups() // cobra would ask after this, and before the command itself
		begun = err == nil
		return err
	}
	named, _, err := root.Find(args)
	inOrder := err == nil && named.Annotations["stops"] != ""
	ended := make(chan error, 1)
	go func() {
		cmd, err := root.ExecuteContextC(ctx)
		if err != nil && !begun {
			err = usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !inOrder {
		return errors.New("stopped by a signal")
	}
	return <-ended
}

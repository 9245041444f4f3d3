package main

import (
	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/schemas"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the events",
		Long: `Print the JSON Schema (draft 2020-12) of an event in CloudEvents structured mode. The schema of its data alone is embedded in it under
the $id that the attribute dataschema names.`,
		Example: "  bridge schema > event.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(schemas.Event)
			return err
		},
	}
}

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/event"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of the program, its protocols and its schema",
		Long:    "Print the version of the program, what it was built from, and the versions of what it speaks.",
		Example: "  bridge version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "bridge      %s\nbuilt with  %s %s/%s\nrevision    %s\nprotocols   Twilio TaskRouter worker WebSocket v2\nschema      %s\n",
				version, runtime.Version(), runtime.GOOS, runtime.GOARCH, revision(), event.DataSchema)
			return err
		},
	}
}

// revision is the commit that the program was built from, where the build has noted it (go build -buildvcs).
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "unknown"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	switch {
	case settings["vcs.revision"] == "":
		return "unknown"
	case settings["vcs.modified"] == "true":
		return settings["vcs.revision"] + " with changes"
	}
	return settings["vcs.revision"]
}

package main

import "github.com/spf13/cobra"

// completeFrom lets the shell offer words for a flag.
func completeFrom(cmd *cobra.Command, flag string, words ...string) {
	// Fails only for a flag that is not there, which the tests of completion would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

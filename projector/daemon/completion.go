package daemon

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// complete has a shell complete arguments and the words that settings can be. The names of
// projections are those of the program, where it has some; the rest the servers know.
func (p *program) complete(cmd *cobra.Command) {
	var names []string
	for _, d := range p.app.Projections {
		names = append(names, d.projection.Name())
	}
	var arguments []string
	for i, word := range strings.Fields(cmd.Use) {
		if i > 0 {
			arguments = append(arguments, strings.Trim(word, "[]"))
		}
	}
	if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil { // the program's own commands may have some
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begins string) ([]string, cobra.ShellCompDirective) {
			argument := ""
			if len(args) < len(arguments) {
				argument = arguments[len(args)]
			}
			switch {
			case argument == "PROJECTION" && len(names) > 0:
				return names, cobra.ShellCompDirectiveNoFileComp
			case slices.Contains([]string{"PROJECTION", "STREAM", "WORKER", "SOURCE", "KEY", "ENTRY"}, argument):
				return p.asked(cmd, argument, args, begins), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	for _, s := range new(settings).table() {
		words := []string(nil)
		switch v := s.into.(type) {
		case textValue:
			words = v.words
		case listValue:
			words = names
		}
		if words != nil {
			// It fails where the command has no such flag, or shares it with others.
			_ = cmd.RegisterFlagCompletionFunc(s.name, cobra.FixedCompletions(slices.Clone(words), cobra.ShellCompDirectiveNoFileComp))
		}
	}
	for _, below := range cmd.Commands() {
		p.complete(below)
	}
}

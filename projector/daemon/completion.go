package daemon

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// complete has a shell complete what is known without a server: names of projections,
// and the words that settings can be.
func (p *program) complete(cmd *cobra.Command) {
	var names []string
	for _, d := range p.app.Projections {
		names = append(names, d.projection.Name())
	}
	words := strings.Fields(cmd.Use)
	if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil { // the program's own commands may have some
		cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(words) > 1 && strings.Trim(words[1], "[]") == "PROJECTION" && len(args) == 0 {
				return names, cobra.ShellCompDirectiveNoFileComp
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

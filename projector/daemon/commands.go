package daemon

import (
	"context"
	"encoding/json"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/projector"
)

// Kit is what a program makes commands of its own with, see [App.Commands]. They have the
// settings, the forms of output and the exit codes of all commands. Its methods are for
// when a command runs.
type Kit struct{ program *program }

// byCobra are the commands that cobra adds when it runs.
var byCobra = []string{"help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}

// addOwn adds the commands of the program's own. One with the name of another would take
// its place, and nobody would know.
func (p *program) addOwn(root *cobra.Command) error {
	if p.app.Commands == nil {
		return nil
	}
	for _, own := range p.app.Commands(&Kit{p}) {
		for _, name := range append([]string{own.Name()}, own.Aliases...) {
			taken := func(c *cobra.Command) bool { return c.Name() == name || c.HasAlias(name) }
			if slices.Contains(byCobra, name) || slices.ContainsFunc(root.Commands(), taken) {
				return usage("App.Commands has a command %q, and there is one already: give it another name", name)
			}
		}
		root.AddCommand(own)
	}
	return nil
}

// In is the standard input.
func (k *Kit) In() io.Reader { return k.program.in }

// Out is the standard output, for what is no [View].
func (k *Kit) Out() io.Writer { return k.program.out }

// Err is the standard error, which may be a terminal.
func (k *Kit) Err() io.Writer { return k.program.screen }

// Follow tells on the standard error how far long work is until stop is called: by a line
// that changes on a terminal, by one now and then elsewhere. line is called by another
// goroutine.
func (k *Kit) Follow(line func() string) (stop func()) { return k.program.follow(line) }

// View is a value that a command prints: in JSON and YAML it is the value itself.
type View interface {
	// Show writes it for people, to where errors need no attention.
	Show(w io.Writer)
}

// Print prints a value in the form that was asked for.
func (k *Kit) Print(v View) error { return k.program.print(shown{v}) }

// shown is a value of a program's own.
type shown struct{ value View }

func (s shown) show(p *page)                 { s.value.Show(p) }
func (s shown) MarshalJSON() ([]byte, error) { return json.Marshal(s.value) }

// Space is the namespace that a command works on. What is appended to its Store can be
// followed, see the setting traces; the Store of Operator is the same without that.
type Space struct {
	*Backends
	// Operator has the log and the generations too. Its Store is for what operators do.
	Operator projector.Operator

	space *space
}

// Assignment returns a projection of the program, in no generation yet. What the settings
// say about snapshots goes with it.
func (s *Space) Assignment(ctx context.Context, name string) (projector.Assignment, error) {
	return s.space.assignment(ctx, name)
}

// Assignments returns all projections of the program but those left out, see
// [Projection.WhereGiven].
func (s *Space) Assignments(ctx context.Context) ([]projector.Assignment, error) {
	return s.space.assignments(ctx, nil)
}

// On returns what runs a command on a namespace that exists. Space is closed when run
// returns.
func (k *Kit) On(run func(ctx context.Context, at *Space, args []string) error) func(*cobra.Command, []string) error {
	return k.on(func() redisstore.Config { return redisstore.Config{Existing: true} }, run)
}

// OnNew returns the same for a command that creates the namespace where there is none.
func (k *Kit) OnNew(run func(ctx context.Context, at *Space, args []string) error) func(*cobra.Command, []string) error {
	return k.on(func() redisstore.Config {
		p := k.program
		return redisstore.Config{Partitions: p.Partitions, Replicas: p.Replicas, ReplicaTimeout: p.ReplicaTimeout}
	}, run)
}

func (k *Kit) on(how func() redisstore.Config, run func(context.Context, *Space, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := k.program.open(cmd.Context(), how(), 0)
		if err != nil {
			return err
		}
		defer s.close()
		return run(cmd.Context(), &Space{Backends: s.backends, Operator: s.Operator, space: s}, args)
	}
}

// Arguments demands arguments of these names; those in brackets may be left out. One called
// STREAM has to be the name of a stream, one called VERSION a number.
func Arguments(names ...string) cobra.PositionalArgs { return arguments(names...) }

// Usage returns the error of a command that was called wrongly, which ends it with code 2.
func Usage(format string, args ...any) error { return usage(format, args...) }

// Absent returns the error that something is not there, which ends a command with code 5.
func Absent(format string, args ...any) error { return absent(format, args...) }

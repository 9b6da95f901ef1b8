// Command cart is projectord's example: the carts of a shop, from commands and
// real history to read models. Run it without arguments for a demonstration that
// needs no server; -h lists what else it does.
//
// The domain is package shop, reading and importing history is package history;
// here is one file per command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal stops at the next safe place, a second one at once.
	context.AfterFunc(ctx, stop)
	// What the client logs comes back as errors, which say more.
	logging.Disable()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are where a run reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run runs the program and returns its exit status.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintf(s.err, "cart: %v\n%s -h tells how it is used\n", err, command.CommandPath())
		return exitUsage
	case errors.As(err, new(unsaidError)):
		fmt.Fprintf(s.err, "cart: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(s.err, "cart: %v\n", err)
	return exitFailure
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// unsaidError is what would be done if it was said that it shall be.
type unsaidError struct{ error }

func newRoot(s streams) *cobra.Command {
	c := new(connection)
	root := &cobra.Command{
		Use:   "cart",
		Short: "The carts of a shop: an example of projectord",
		Long: `The carts of a shop, kept as events, with read models derived from them.

Without a command it shows what that means on a small made-up shop, with a
server inside the process. The commands work on a Redis of yours, and on a
Postgres if you name one.`,
		Example: `  cart                                        the demonstration
  cart import online-retail.csv.zst           append a real shop's history
  cart project                                bring the read models up to date
  cart run                                    keep them up to date, together with others
  cart show c17850                            look at one cart
  cart listing holdings | sha256sum           all of them, to compare
  cart rebuild cart_current --wait            build a read model anew, beside the old one
  cart status --watch                         see how far that is`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.given(cmd) {
				return usageError{errors.New("the demonstration runs on a server of its own: name a command to use with these flags")}
			}
			return demo(cmd.Context(), s.out)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c.addFlags(root)
	root.AddCommand(newImport(c, s), newProject(c, s), newRun(c, s), newShow(c, s), newListing(c, s),
		newStatus(c, s), newRebuild(c, s), newPause(c, s), newResume(c, s), newVerify(c, s), newPromote(c, s), newRollback(c, s),
		newDrift(c, s), newHeal(c, s), newRetire(c, s), newSnapshots(c, s),
		newDelete(c, s), newTruncate(c, s), newForced(c, s), newRetention(c, s))
	return root
}

// arguments demands arguments of these names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError{fmt.Errorf("%s is missing", names[len(args)])}
		case len(args) > len(names):
			return usageError{fmt.Errorf("%q is one argument too many", args[len(names)])}
		}
		return nil
	}
}

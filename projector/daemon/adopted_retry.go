package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newAdoptedRetry(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "retry SOURCE KEY",
		Short: "Have a parked key tried again",
		Long: `Ends the parking of a key. The process that adopts the source goes on from where the key
stands, with whatever code it has now; where the entry still cannot be decoded, the key is
parked again.`,
		Example: "  " + p.app.name() + " adopted retry crm leads",
		Args:    arguments("SOURCE", "KEY"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			return p.printDone(s.retryAdopted(ctx, args[0], args[1]))
		}),
	}
}

func (s *space) retryAdopted(ctx context.Context, source, key string) (done, error) {
	l, err := s.ledger()
	if err == nil {
		_, _, err = s.knownSources(ctx, l, []string{source})
	}
	if err != nil {
		return done{}, err
	}
	was, err := l.Retry(ctx, source, key)
	if err == nil && !was {
		err = absent("%s is not parked in source %s: %s lists what is", key, source, s.call("adopted ls %s", source))
	}
	return done{Message: fmt.Sprintf("%s of source %s is tried again from where it stands", key, source)}, err
}

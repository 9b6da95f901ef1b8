package daemon

import (
	"context"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/adopt"
)

func newAdopted(p *program) *cobra.Command {
	return holder("adopted", "List the streams of other programs that are adopted, and have them go on",
		`What other programs write to streams by XADD can be adopted: a program says which keys, and
what events their entries are. A key with an entry that cannot be decoded is parked: nothing
behind that is adopted, and all other keys go on. With mended code retry has it go on, as
the start of a daemon does; skip leaves the entry out for good.`,
		newAdoptedLs(p), newAdoptedRetry(p), newAdoptedSkip(p))
}

// ledger returns what the namespace keeps about what was adopted into it.
func (s *space) ledger() (*adopt.Ledger, error) { return adopt.NewLedger(s.client, s.Namespace) }

// knownSources returns the names of the sources of the namespace, or is an error where one
// that is asked for is none of them.
func (s *space) knownSources(ctx context.Context, l *adopt.Ledger, names []string) ([]string, map[string]adopt.Kept, error) {
	known, err := l.Sources(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := slices.Sorted(maps.Keys(known))
	if len(names) == 0 {
		return all, known, nil
	}
	if _, ok := known[names[0]]; ok {
		return names, known, nil
	}
	if len(all) == 0 {
		return nil, nil, absent("there is no source %s in namespace %s, nor any other: nothing was adopted yet", names[0], s.Namespace)
	}
	return nil, nil, absent("there is no source %s in namespace %s, only %s", names[0], s.Namespace, choice(all))
}

// whereIs returns the Redis that the keys of a source are in, nil where that is not known here.
func (s *space) whereIs(ctx context.Context, name string, known adopt.Kept) (redis.UniversalClient, error) {
	if !known.Elsewhere {
		return s.client, nil
	}
	sources, err := s.sources(ctx)
	if err != nil {
		return nil, err
	}
	for _, source := range sources {
		if source.Name == name {
			return source.Client, nil
		}
	}
	return nil, nil
}

package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
)

const (
	// patienceOfShell is how long somebody waits who has pressed the key that completes.
	patienceOfShell = time.Second
	// mostCompleted is how many names a shell is given.
	mostCompleted = 100
)

// asked returns the names that servers know for an argument, and that begin in a certain way.
// It is silent about everything that goes wrong: a shell has no place for that.
func (p *program) asked(cmd *cobra.Command, argument string, args []string, begins string) (names []string) {
	var err error
	if p.config, err = load(cmd.Flags(), p.environ); err != nil {
		p.config = new(config)
		return nil
	}
	p.ConnectTimeout = min(p.ConnectTimeout, patienceOfShell)
	ctx, cancel := context.WithTimeout(cmd.Context(), patienceOfShell)
	defer cancel()
	s, err := p.open(ctx, redisstore.Config{Existing: true}, 0)
	if err != nil {
		return nil
	}
	defer s.close()
	add := func(name string) bool {
		if strings.HasPrefix(name, begins) {
			names = append(names, name)
		}
		return len(names) < mostCompleted
	}
	switch {
	case argument == "PROJECTION":
		all, _ := s.Generations.All(ctx)
		for name := range all {
			add(name)
		}
	case argument == "WORKER":
		all, _ := s.workers(ctx)
		for _, w := range all {
			add(w.Worker)
		}
	case cmd.Parent().Name() == "adopted":
		s.askedAdopted(ctx, argument, args, add)
	case argument == "STREAM" && cmd.Parent().Name() == "parked" && len(args) > 0:
		all, _ := s.parked(ctx, args[:1], 0)
		for _, parked := range all.Parked {
			add(parked.Stream)
		}
	case argument == "STREAM":
		for h, err := range s.beginning(ctx, begins) {
			if err != nil || !add(h.Stream.String()) {
				break
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// askedAdopted adds the sources that were adopted, or the parked keys of one and where they are.
func (s *space) askedAdopted(ctx context.Context, argument string, args []string, add func(string) bool) {
	l, err := s.ledger()
	if err != nil {
		return
	}
	if argument == "SOURCE" {
		sources, _ := l.Sources(ctx)
		for name := range sources {
			add(name)
		}
		return
	}
	keys, _ := l.Keys(ctx, args[0])
	for _, k := range keys {
		switch {
		case k.Parked == nil:
		case argument == "KEY":
			add(k.Name)
		case k.Name == args[1]:
			add(k.Parked.Entry.String())
		}
	}
}

// beginning yields streams among which are all that begin in a certain way.
func (s *space) beginning(ctx context.Context, begins string) func(func(eventstore.StreamHead, error) bool) {
	if category, _, whole := strings.Cut(begins, "-"); whole {
		return s.store.Streams(ctx, category)
	}
	return s.store.All(ctx)
}

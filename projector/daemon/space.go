package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/snapshots"
	snapshotspostgres "github.com/projectord/projectord/snapshots/postgres"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// space is the namespace that a command works on, opened.
type space struct {
	*program
	projector.Operator
	client   redis.UniversalClient
	store    *redisstore.Store
	backends *Backends

	mu    sync.Mutex                      // guards known, and what is asked for while making them
	known map[string]projector.Assignment // that were made
}

// on returns what runs a command on a namespace that exists.
func (p *program) on(run func(context.Context, *space, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := p.open(cmd.Context(), redisstore.Config{Existing: true}, 0)
		if err != nil {
			return err
		}
		defer s.close()
		return run(cmd.Context(), s, args)
	}
}

// open connects to Redis and opens the namespace. The Postgres is not connected to
// before it is needed.
func (p *program) open(ctx context.Context, how redisstore.Config, connections int) (*space, error) {
	client, err := p.redisClient(connections)
	if err != nil {
		return nil, err
	}
	how.Namespace = p.Namespace
	store, err := redisstore.Open(ctx, client, how)
	if err != nil {
		client.Close()
		switch other := (*redisstore.PartitionsError)(nil); {
		case errors.As(err, &other):
			err = usage("namespace %q was created with %d partitions, which cannot change, and %s says %d: say %d, or leave it out", p.Namespace, other.Has, p.from["partitions"], other.Wanted, other.Has)
		case errors.Is(err, redisstore.ErrNoNamespace):
			err = absent("%w (is the name in --namespace or %s right? run and streams append create it)", err, env("namespace"))
		}
		return nil, err
	}
	if err := p.fitDev(ctx, client); err != nil {
		client.Close()
		return nil, err
	}
	s := &space{program: p, client: client, store: store, known: make(map[string]projector.Assignment)}
	if s.Operator, err = operator(client, store); err != nil {
		client.Close()
		return nil, err
	}
	pool, err := p.postgresPool(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	s.backends = &Backends{
		Namespace: p.Namespace, Partitions: store.Partitions(), Redis: client, Store: p.traced(store),
		pool: pool, within: p.ConnectTimeout,
	}
	return s, nil
}

func operator(client redis.UniversalClient, store *redisstore.Store) (projector.Operator, error) {
	log, err := lease.NewLog(client, lease.Config{Namespace: store.Namespace(), Partitions: store.Partitions()})
	if err != nil {
		return projector.Operator{}, err
	}
	registry, err := generations.New(client, store.Namespace())
	return projector.Operator{Store: store, Log: log, Generations: registry}, err
}

func (s *space) close() {
	s.client.Close()
	if s.backends.pool != nil {
		closePool(s.backends.pool)
	}
}

// declared returns the projection of a name that the program has.
func (p *program) declared(name string) (Projection, bool) {
	i := slices.IndexFunc(p.app.Projections, func(d Projection) bool { return d.projection.Name() == name })
	if i < 0 {
		return Projection{}, false
	}
	return p.app.Projections[i], true
}

// assignment returns a projection of the program, in no generation yet.
func (s *space) assignment(ctx context.Context, name string) (projector.Assignment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.known[name]; ok {
		return a, nil
	}
	d, ok := s.declared(name)
	if !ok {
		return projector.Assignment{}, s.missing(ctx, name)
	}
	sink, err := d.sink(ctx, s.backends, name)
	if err != nil {
		return projector.Assignment{}, fmt.Errorf("projection %s: %w", name, err)
	}
	a := projector.Assignment{Projection: d.projection, Sink: sink}
	if a.Snapshots, err = s.snapshots(ctx, d.projection); err != nil {
		return projector.Assignment{}, fmt.Errorf("projection %s: snapshots: %w", name, err)
	}
	s.known[name] = a
	return a, nil
}

// missing says why the program does not have a projection: another one has it, or none.
func (s *space) missing(ctx context.Context, name string) error {
	all, err := s.Generations.All(ctx)
	switch {
	case err != nil:
		return err
	case all[name].Active == 0:
		return s.noProjection(all, name)
	}
	return s.undeclared(name)
}

// noProjection says that neither the namespace nor the program has a projection.
func (s *space) noProjection(all map[string]generations.Projection, name string) error {
	names := slices.Collect(maps.Keys(all))
	for _, d := range s.app.Projections {
		names = append(names, d.projection.Name())
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return absent("there is no projection %s in namespace %s, nor any other yet", name, s.Namespace)
	}
	return absent("there is no projection %s in namespace %s, only %s", name, s.Namespace, choice(names))
}

// undeclared says that the program does not have a projection whose code is needed.
func (p *program) undeclared(name string) error {
	if len(p.app.Projections) == 0 {
		return usage("this takes the code of %s, which %s does not have: the program that runs the workers of %[1]s has the same command", name, p.app.name())
	}
	var names []string
	for _, d := range p.app.Projections {
		names = append(names, d.projection.Name())
	}
	return usage("this takes the code of %s, which %s does not have, only that of %s", name, p.app.name(), choice(names))
}

// assignments returns the projections of those names, or all of the program that are
// given, and logs which are not.
func (s *space) assignments(ctx context.Context, names []string) ([]projector.Assignment, error) {
	if len(names) == 0 {
		all, missing, err := s.given(ctx)
		if err == nil && len(missing) > 0 {
			s.newLogger().Info("projections are left out, which are kept in Postgres, and none is named", "projections", strings.Join(missing, ","), "setting", "postgres-url")
		}
		return all, err
	}
	var all []projector.Assignment
	for _, name := range names {
		a, err := s.assignment(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// given returns the projections of the program, but for those that are to be left out
// because no Postgres is named.
func (s *space) given(ctx context.Context) (all []projector.Assignment, missing []string, err error) {
	for _, d := range s.app.Projections {
		name := d.projection.Name()
		a, err := s.assignment(ctx, name)
		switch {
		case d.whereGiven && errors.Is(err, errNoPostgres):
			missing = append(missing, name)
		case err != nil:
			return nil, nil, err
		default:
			all = append(all, a)
		}
	}
	switch {
	case len(s.app.Projections) == 0:
		return nil, nil, usage("this takes projections, and %s has none: the program that has their code has the same command", s.app.name())
	case len(all) == 0:
		return nil, nil, fmt.Errorf("projections %s: %w", strings.Join(missing, ", "), &failure{exitUsage, errNoPostgres})
	}
	return all, missing, nil
}

// snapshots returns how the states of a projection are kept. Those that are there are
// used also where none is to be taken: of a stream whose first events were removed
// there is nothing else to begin with.
func (s *space) snapshots(ctx context.Context, p projector.Projection) (snapshots.Config, error) {
	if p.Form() != projector.Documents {
		return snapshots.Config{}, nil
	}
	c := snapshots.Config{Policy: snapshots.Every(s.SnapshotEvery)}
	var err error
	switch s.Snapshots {
	case snapshotsPostgres:
		pool, failed := s.backends.Postgres(ctx)
		if failed != nil {
			return c, failed
		}
		c.Store, err = snapshotspostgres.Open(ctx, pool, s.Namespace)
	case snapshotsRedis:
		c.Store, err = snapshotsredis.New(s.client, snapshotsredis.Config{Namespace: s.Namespace, Partitions: s.store.Partitions()})
	default:
		c.Policy = snapshots.None
		c.Store, err = snapshotsredis.New(s.client, snapshotsredis.Config{Namespace: s.Namespace, Partitions: s.store.Partitions()})
	}
	return c, err
}

// group returns the consumer group of a generation, whether its code is known or not.
func group(projection string, g generations.Generation) string {
	return fmt.Sprintf("%s@%d", projection, g)
}

// generationsOf returns the generations of a projection that has run.
func (s *space) generationsOf(ctx context.Context, name string) (generations.Projection, error) {
	all, err := s.Generations.All(ctx)
	if err == nil && all[name].Active == 0 {
		if _, ok := s.declared(name); ok {
			err = absent("%s has not run in namespace %s yet: %s run starts it", name, s.Namespace, s.app.name())
		} else {
			err = s.noProjection(all, name)
		}
	}
	return all[name], err
}

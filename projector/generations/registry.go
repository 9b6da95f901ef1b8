package generations

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Registry keeps the generations of a namespace. It is safe for concurrent use by any
// number of processes; the client belongs to the caller.
type Registry struct {
	client    redis.UniversalClient
	namespace string
}

// New returns the generations of a namespace; empty is the default one.
func New(client redis.UniversalClient, namespace string) (*Registry, error) {
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	return &Registry{client: client, namespace: namespace}, nil
}

func (r *Registry) pointers() string { return keyspace.Projections(r.namespace) }
func (r *Registry) records() string  { return keyspace.Generations(r.namespace) }

// Active returns the active generation of a projection. The error wraps
// [ErrNotStarted] where there is none.
func (r *Registry) Active(ctx context.Context, projection string) (Generation, error) {
	var g Generation
	err := redisx.Retry(ctx, func() (err error) {
		g, err = Parse(projection, r.client.HGet(ctx, r.pointers(), projection))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("the active generation of %s: key %s: %w", projection, r.pointers(), redisx.Explain(err))
	}
	return g, nil
}

// Projection is the generations of one projection.
type Projection struct {
	// Active is the one readers see; 0 where the projection never ran.
	Active Generation
	// Records are all there are, by their numbers.
	Records []Record
	last    Generation // the highest number that was ever given
}

// Of returns the record of a generation.
func (p Projection) Of(g Generation) (Record, bool) {
	for _, r := range p.Records {
		if r.Generation == g {
			return r, true
		}
	}
	return Record{}, false
}

// All returns the generations of all projections, by their names. One round trip.
func (r *Registry) All(ctx context.Context) (map[string]Projection, error) {
	var all map[string]Projection
	err := redisx.Retry(ctx, func() (err error) {
		all, err = r.read(ctx, r.client)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("generations: key %s: %w", r.records(), redisx.Explain(err))
	}
	return all, nil
}

// Get returns the generations of a projection.
func (r *Registry) Get(ctx context.Context, projection string) (Projection, error) {
	all, err := r.All(ctx)
	return all[projection], err
}

func (r *Registry) read(ctx context.Context, client redis.Cmdable) (map[string]Projection, error) {
	pipe := client.Pipeline()
	pointers, records := pipe.HGetAll(ctx, r.pointers()), pipe.HGetAll(ctx, r.records())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	all := make(map[string]Projection)
	for field, text := range records.Val() {
		projection, number, one := strings.Cut(field, "@")
		p := all[projection]
		var err error
		if one {
			err = p.add(projection, number, text)
		} else {
			err = p.last.parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("field %s is damaged: %w", field, err)
		}
		all[projection] = p
	}
	for projection, text := range pointers.Val() {
		p := all[projection]
		if err := p.Active.parse(text); err != nil {
			return nil, fmt.Errorf("the active generation of %s: %w", projection, err)
		}
		all[projection] = p
	}
	for _, p := range all {
		slices.SortFunc(p.Records, func(a, b Record) int { return cmp.Compare(a.Generation, b.Generation) })
	}
	return all, nil
}

func (p *Projection) add(projection, number, text string) error {
	record := Record{Projection: projection}
	if err := record.Generation.parse(number); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		return err
	}
	p.Records = append(p.Records, record)
	return nil
}

// change makes a change to one projection, if nobody else changes anything meanwhile;
// else it begins anew. What it is given is what there is; it returns what to write,
// and the error of decide is its own.
func (r *Registry) change(ctx context.Context, projection string, decide func(p Projection) (update, error)) error {
	for {
		err := redisx.Retry(ctx, func() error {
			return r.client.Watch(ctx, func(tx *redis.Tx) error {
				all, err := r.read(ctx, tx)
				if err != nil {
					return err
				}
				u, err := decide(all[projection])
				if err != nil {
					return err
				}
				_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error { return r.write(ctx, pipe, projection, u) })
				return err
			}, r.pointers(), r.records())
		})
		if errors.Is(err, redis.TxFailedErr) {
			continue // somebody else changed something
		}
		if err != nil {
			return fmt.Errorf("generations of %s: key %s: %w", projection, r.records(), redisx.Explain(err))
		}
		return nil
	}
}

// update is what is written at once.
type update struct {
	active  Generation // 0 to leave it
	added   *Record    // nil for none
	record  *Record    // that changes; nil for none
	removed Generation // 0 for none
}

func (r *Registry) write(ctx context.Context, pipe redis.Pipeliner, projection string, u update) error {
	if u.active > 0 {
		pipe.HSet(ctx, r.pointers(), projection, int(u.active))
	}
	if u.added != nil {
		pipe.HSet(ctx, r.records(), projection, int(u.added.Generation))
		u.record = u.added
	}
	if record := u.record; record != nil {
		text, err := json.Marshal(record)
		if err != nil {
			return err
		}
		pipe.HSet(ctx, r.records(), field(projection, record.Generation), text)
	}
	if u.removed > 0 {
		pipe.HDel(ctx, r.records(), field(projection, u.removed))
	}
	return nil
}

func field(projection string, g Generation) string { return fmt.Sprintf("%s@%d", projection, g) }

// now is the time as records keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

package daemon

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// parkedKeysView is a source with keys that are parked, which adopted ls lists.
type parkedKeysView struct {
	Source string `json:"source"`
	// Keys is how many of them are parked.
	Keys int `json:"keys"`
}

func (v parkedKeysView) String() string {
	are := "are"
	if v.Keys == 1 {
		are = "is"
	}
	return fmt.Sprintf("%s of source %s %s parked: adopted ls %s says why", many(v.Keys, "key"), v.Source, are, v.Source)
}

// sourceCount is how many keys of a source have a position, and how many are parked.
type sourceCount struct {
	name         string
	keys, parked int
}

// countSources returns the sources of a namespace, by their names. It reads none of the keys.
func countSources(ctx context.Context, client redis.UniversalClient, namespace string) ([]sourceCount, error) {
	ledger := keyspace.AdoptedSources(namespace)
	var all []sourceCount
	err := redisx.Retry(ctx, func() error {
		names, err := client.HKeys(ctx, ledger).Result()
		if err != nil || len(names) == 0 {
			return err
		}
		slices.Sort(names)
		counts := make([]*redis.IntCmd, 0, 2*len(names))
		if _, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, name := range names {
				counts = append(counts, pipe.HLen(ctx, keyspace.Adopted(namespace, name)), pipe.HLen(ctx, keyspace.AdoptedParked(namespace, name)))
			}
			return nil
		}); err != nil {
			return err
		}
		all = nil
		for i, name := range names {
			all = append(all, sourceCount{name, int(counts[2*i].Val()), int(counts[2*i+1].Val())})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", ledger, redisx.Explain(err))
	}
	return all, nil
}

// parkedKeys returns the sources of the namespace with keys that are parked.
func (s *space) parkedKeys(ctx context.Context) ([]parkedKeysView, error) {
	v := []parkedKeysView{}
	all, err := countSources(ctx, s.client, s.Namespace)
	for _, c := range all {
		if c.parked > 0 {
			v = append(v, parkedKeysView{c.name, c.parked})
		}
	}
	return v, err
}

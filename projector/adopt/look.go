package adopt

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Standing is how a key stands in its Redis.
type Standing struct {
	// Behind is how many entries are not adopted yet, those that will be found to be lost
	// included, or [Unknown].
	Behind int64
	// Gone says that there is no such key.
	Gone bool
}

// Look returns how keys stand in the Redis that they are in, in their order.
func Look(ctx context.Context, client redis.UniversalClient, keys []Key) ([]Standing, error) {
	all := make([]Standing, 0, len(keys))
	r := newReader(client)
	for len(keys) > 0 {
		some := keys[:min(len(keys), mostKeys)]
		keys = keys[len(some):]
		names := make([]string, len(some))
		for i, k := range some {
			names[i] = k.Name
		}
		told, err := r.infos(ctx, names)
		if err != nil {
			return nil, err
		}
		for i, g := range told {
			all = append(all, standing(some[i].Position, g))
		}
	}
	return all, nil
}

func standing(p Position, g got) Standing {
	switch {
	case g.gone:
		return Standing{Gone: true}
	case g.err == nil && g.last.Compare(p.ID) == 0:
		return Standing{}
	case g.err != nil, g.added == Unknown, p.Added == Unknown:
		return Standing{Behind: Unknown}
	}
	return Standing{Behind: max(g.added-p.Added, 0)}
}

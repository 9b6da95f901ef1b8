package chaos

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
)

// takeovers measures how long the streams of workers that were killed rest until
// another one claims them.
type takeovers struct {
	client redis.UniversalClient
	keys   *keyspace.Namespace
	groups []string

	mu    sync.Mutex // protects all below
	open  map[held]death
	took  []time.Duration
	early map[held]heard // the last claims, which may be heard of before the death
}

// held is a stream that a worker held for a group.
type held struct{ group, stream string }

type death struct {
	of      int
	at      time.Time
	outages int64
}

type heard struct {
	by int
	at time.Time
}

func newTakeovers(client redis.UniversalClient, keys *keyspace.Namespace, groups []string) *takeovers {
	return &takeovers{client: client, keys: keys, groups: groups, open: make(map[held]death), early: make(map[held]heard)}
}

// died notes what a worker held that was killed. Where a server is down nothing can
// be learned.
func (t *takeovers) died(ctx context.Context, p *process, at time.Time, outages int64) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	type lease struct {
		group string
		reply *redis.MapStringStringCmd
	}
	var leases []lease
	pipe := t.client.Pipeline()
	for partition := range t.keys.Partitions() {
		for _, g := range t.groups {
			leases = append(leases, lease{g, pipe.HGetAll(ctx, t.keys.Leases(partition, g))})
		}
	}
	pipe.Exec(ctx)
	session := p.lastSession()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range leases {
		for stream, by := range l.reply.Val() {
			if h := (held{l.group, stream}); by == session {
				t.open[h] = death{p.number, at, outages}
				if e := t.early[h]; e.by != p.number && e.at.After(at) {
					t.close(h, e.at, outages)
				}
			}
		}
	}
}

// claimed notes what a worker claimed.
func (t *takeovers) claimed(p *process, r report, outages int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range r.Streams {
		h := held{r.Group, s}
		t.early[h] = heard{p.number, r.At}
		if d, ok := t.open[h]; ok && d.of != p.number && r.At.After(d.at) {
			t.close(h, r.At, outages)
		}
	}
}

// close ends a measurement, which counts if no server went down meanwhile.
func (t *takeovers) close(h held, at time.Time, outages int64) {
	if d := t.open[h]; d.outages == outages {
		t.took = append(t.took, at.Sub(d.at))
	}
	delete(t.open, h)
}

// percentile returns how long the quickest p of 100 takeovers took at the most, and
// how many there were.
func (t *takeovers) percentile(p int) (time.Duration, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.took) == 0 {
		return 0, 0
	}
	slices.Sort(t.took)
	return t.took[(len(t.took)-1)*p/100], len(t.took)
}

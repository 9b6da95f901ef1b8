package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/servers"
	"github.com/projectord/projectord/projector"
)

// backlogStreams is how many streams have grown while there was no worker.
const backlogStreams = 20_000

func processRows() []*row {
	var rows []*row
	for _, kind := range []struct {
		name, what   string // what is done, by those who are named then
		full, filled bool
		own          int
		run          func(processes int) func(context.Context, *lab) (sample, error)
	}{
		{"rebuild", "A generation is built in the hashes of one Redis", false, true, 0, rebuildTogether},
		{"backlog", "What was appended while there was no worker, new streams of ten events, is worked off on one Redis", false, false, backlogStreams * cartEvents, workOffTogether},
		{"cluster-rebuild", "A generation is built in the hashes of a cluster of three masters, which share the processors", true, false, 0, rebuildCluster},
	} {
		one := &measure{name: kind.name + " by 1 process", run: kind.run(1)}
		for _, processes := range []int{1, 2, 4} {
			r := &row{
				name: fmt.Sprintf("processes/%s-%d", kind.name, processes), unit: "events/s", full: kind.full, filled: kind.filled, own: kind.own, of: reading{of: one},
				clustered: strings.HasPrefix(kind.name, "cluster"), about: fmt.Sprintf("%s, by %s of one worker.", kind.what, plural(processes, "process")),
			}
			if processes > 1 {
				r.of = reading{of: &measure{name: fmt.Sprintf("%s by %d processes", kind.name, processes), run: kind.run(processes)}}
				r.limit = reading{of: one}
				r.about = strings.TrimSuffix(r.about, ".") + " each; against one of them."
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// apart times work that processes do, which return how long it took and what they took
// for it.
func (l *lab) apart(ctx context.Context, events int, work func(ctx context.Context) (time.Duration, told, error)) (sample, error) {
	var spent told
	s, err := l.observe(ctx, func(ctx context.Context) (sample, error) {
		took, t, err := work(ctx)
		spent = t
		return sample{value: float64(events) / took.Seconds(), units: events}, err
	})
	s.client, s.allocs = spent.CPU, spent.Allocs
	return s, err
}

func rebuildTogether(processes int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, err := filled(ctx, l)
		if err != nil {
			return sample{}, err
		}
		return l.rebuildBy(ctx, c, processes, func() error { return nil })
	}
}

// rebuildBy has processes build a generation, which is dropped after something was done.
func (l *lab) rebuildBy(ctx context.Context, c *carts, processes int, built func() error) (sample, error) {
	const name = "together"
	var g projector.Generation
	s, err := l.apart(ctx, c.events(), func(ctx context.Context) (took time.Duration, spent told, err error) {
		g, took, spent, err = c.buildBy(ctx, name, processes)
		return took, spent, err
	})
	if err == nil {
		err = built()
	}
	if err != nil {
		return sample{}, err
	}
	m, err := c.hashes(name, false)
	if err != nil {
		return sample{}, err
	}
	return s, c.drop(ctx, m, g)
}

func workOffTogether(processes int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, discard, err := l.carts(ctx)
		if err != nil {
			return sample{}, err
		}
		defer discard()
		streams := l.scaled(backlogStreams, 10)
		var before time.Duration
		s, err := l.apart(ctx, streams*cartEvents, func(ctx context.Context) (time.Duration, told, error) {
			return c.workOff(ctx, "backlog", streams, processes, func() (err error) {
				before, err = redisCPU(ctx, l.redis)
				return err
			})
		})
		if err != nil {
			return sample{}, err
		}
		// What was appended before is not the workers'.
		after, err := redisCPU(ctx, l.redis)
		s.redis = after - before
		return s, err
	}
}

func rebuildCluster(processes int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, err := shared(ctx, l, "carts of a cluster", l.clusterCarts)
		if err != nil {
			return sample{}, err
		}
		before, err := nodesCPU(ctx, c)
		if err != nil {
			return sample{}, err
		}
		var after time.Duration
		s, err := l.rebuildBy(ctx, c, processes, func() error {
			after, err = nodesCPU(ctx, c)
			return err
		})
		s.redis = after - before
		return s, err
	}
}

// clusterCarts returns the carts that rebuilds read, in a cluster.
func (l *lab) clusterCarts(ctx context.Context) (*carts, error) {
	cluster, err := servers.StartCluster()
	if err != nil {
		return nil, advise(err, "install Redis 7 or newer")
	}
	l.closing = append(l.closing, cluster.Close)
	return l.fill(ctx, cluster.URLs())
}

// nodesCPU returns the CPU time that the nodes of a cluster have spent.
func nodesCPU(ctx context.Context, c *carts) (total time.Duration, err error) {
	var mu sync.Mutex // protects total
	err = c.client.(*redis.ClusterClient).ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		cpu, err := redisCPU(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		total += cpu
		return err
	})
	return total, err
}

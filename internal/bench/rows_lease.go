package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// claimedStreams is how many streams a sample claims or settles for each of so many
	// groups, claimSize at a time.
	claimedStreams, claimSize, claimGroups = 40 * 1024, 256, 5
	// heldStreams is how many streams a session holds whose heartbeats are timed, beats
	// how many of those. beatTTL has them follow each other, without the session dying
	// where the machine is busy: one comes about every beatEvery.
	heldStreams, beats = 10_000, 4
	beatTTL            = time.Second
	beatEvery          = 450 * time.Millisecond
)

func leaseRows() []*row {
	setNX := reading{of: &measure{name: fmt.Sprintf("pipelined SET NX, %d at a time", claimSize), run: pipelinedSetNX}}
	return []*row{
		{
			name: "claim", unit: "streams/s", of: reading{of: &measure{name: "claims", run: claims}}, limit: setNX, goal: 0.65,
			about: fmt.Sprintf("A worker claims %d streams of a partition a call; against SET NX of a lock for each stream, as many in a pipeline.", claimSize),
		},
		{
			name: "settle", unit: "streams/s", of: reading{of: &measure{name: "settlements", run: settlements}}, limit: setNX,
			about: fmt.Sprintf("A worker settles %d streams of a partition a call, which it gives back and acknowledges by that; against the same SET NX.", claimSize),
		},
		{
			name: "heartbeat", unit: "µs", less: true, of: reading{of: &measure{name: "heartbeats", run: heartbeats}},
			limit: reading{of: &measure{name: "a script call after the same pause", run: scriptLatency}},
			about: "A session that holds 10,000 streams in 16 partitions extends them all, by a command for each partition in one pipeline; against one call of a script that does nothing, after a pause as long as that between heartbeats.",
		},
	}
}

// pipelinedSetNX takes a lock per stream.
func pipelinedSetNX(ctx context.Context, l *lab) (sample, error) {
	prefix := l.namespace()
	defer func() { _ = l.remove(context.WithoutCancel(ctx), prefix) }() // close removes what is left
	return l.rate(ctx, func(ctx context.Context) (int, error) {
		n, most := 0, claimGroups*l.scaled(claimedStreams, claimSize)
		for n < most {
			_, err := l.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range claimSize {
					p.SetNX(ctx, prefix+":lock:"+strconv.Itoa(n), "bench.0123456789abcdef", time.Minute)
					n++
				}
				return nil
			})
			if err != nil {
				return n, err
			}
		}
		return n, nil
	})
}

// announced is a worker that has been given pointers to streams with one event each, in
// one group or several.
type announced struct {
	batches []batch
	claims  int // streams of all batches
}

// batch is what a worker claims at once, as a member of a group.
type batch struct {
	member *lease.Member
	claims []lease.Claim
}

// announce appends to streams of a new namespace, and gives their pointers to a worker of
// so many groups. It has to be removed also where there is an error.
func announce(ctx context.Context, store *redisstore.Store, session *lease.Session, log *lease.Log, streams, groups int) (a announced, err error) {
	members := make([]*lease.Member, groups)
	for i := range members {
		group, err := log.Group(ctx, fmt.Sprintf("bench@%d", i+1))
		if err != nil {
			return a, err
		}
		members[i] = group.Join(session)
	}
	for start := 0; start < streams; start += claimSize {
		appends := make([]eventstore.StreamAppend, min(claimSize, streams-start))
		for i := range appends {
			appends[i] = eventstore.StreamAppend{Stream: cart(start + i), Expected: eventstore.NoStream, Events: benchEvents(1)}
		}
		if err := firstError(store.AppendMany(ctx, appends)); err != nil {
			return a, err
		}
	}
	for _, member := range members {
		for left := streams; left > 0; {
			read, err := member.Read(ctx, session.Partitions(), claimSize, 0)
			if err != nil {
				return a, err
			}
			if len(read.Pointers) == 0 {
				return a, fmt.Errorf("%d of %d pointers are not in the log", left, streams)
			}
			left -= len(read.Pointers)
			a.batches = append(a.batches, batch{member, lease.ByStream(read.Pointers)})
		}
		a.claims += streams
	}
	return a, nil
}

// claim claims all streams and returns what has to be settled, by batch.
func (a *announced) claim(ctx context.Context) (settle [][]lease.Settlement, err error) {
	for _, b := range a.batches {
		claimed, err := b.member.Claim(ctx, b.claims)
		if err != nil {
			return nil, err
		}
		settlements := make([]lease.Settlement, len(claimed))
		for i, c := range claimed {
			if c.Verdict != lease.Leased {
				return nil, fmt.Errorf("stream %s was not given to the only worker there is", c.Stream)
			}
			settlements[i] = lease.Settlement{Stream: c.Stream, Version: 1, Pointers: c.Pointers}
		}
		settle = append(settle, settlements)
	}
	return settle, nil
}

// onWorker has f work with a worker that was given pointers to streams of a new namespace.
func (l *lab) onWorker(ctx context.Context, client *redis.Client, partitions, streams, groups int, ttl time.Duration, f func(*announced, *lease.Session) (sample, error)) (sample, error) {
	store, remove, err := l.scratch(ctx, client, partitions)
	if err != nil {
		return sample{}, err
	}
	defer remove()
	log, err := lease.NewLog(client, lease.Config{Namespace: store.Namespace(), Partitions: store.Partitions()})
	if err != nil {
		return sample{}, err
	}
	session, err := log.Register(ctx, lease.SessionConfig{Worker: "bench", TTL: ttl})
	if err != nil {
		return sample{}, err
	}
	defer session.Stop(context.WithoutCancel(ctx))
	var beating sync.WaitGroup
	defer beating.Wait()
	alive, stop := context.WithCancel(ctx)
	defer stop()
	beating.Go(func() { _ = session.Run(alive) }) // its error is that of whatever is done next
	a, err := announce(ctx, store, session, log, streams, groups)
	if err != nil {
		return sample{}, err
	}
	return f(&a, session)
}

// sampleTTL is that of sessions that are not kept alive.
const sampleTTL = time.Hour

func claims(ctx context.Context, l *lab) (sample, error) {
	return l.onWorker(ctx, l.redis, 1, l.scaled(claimedStreams, claimSize), claimGroups, sampleTTL, func(a *announced, _ *lease.Session) (sample, error) {
		return l.rate(ctx, func(ctx context.Context) (int, error) {
			_, err := a.claim(ctx)
			return a.claims, err
		})
	})
}

func settlements(ctx context.Context, l *lab) (sample, error) {
	return l.onWorker(ctx, l.redis, 1, l.scaled(claimedStreams, claimSize), claimGroups, sampleTTL, func(a *announced, _ *lease.Session) (sample, error) {
		settle, err := a.claim(ctx)
		if err != nil {
			return sample{}, err
		}
		return l.rate(ctx, func(ctx context.Context) (int, error) {
			for i, batch := range settle {
				settled, err := a.batches[i].member.Settle(ctx, batch)
				if err != nil {
					return 0, err
				}
				for _, s := range settled {
					if s.Result != lease.Done {
						return 0, fmt.Errorf("stream %s is not settled", s.Stream)
					}
				}
			}
			return a.claims, nil
		})
	})
}

// scriptLatency is how long a call of a script takes that does nothing, at the pace of
// heartbeats: after a pause, processors are slower than when they are always called.
func scriptLatency(ctx context.Context, l *lab) (sample, error) {
	if err := doNothing.Load(ctx, l.redis).Err(); err != nil {
		return sample{}, err
	}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	var took []float64
	for len(took) < beats {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
		begin := time.Now()
		if err := doNothing.EvalSha(ctx, l.redis, nil).Err(); err != nil {
			return sample{}, err
		}
		took = append(took, micros(time.Since(begin)))
	}
	return sample{value: median(took)}, nil
}

// pipelineClock is a hook of a client that times its pipelines.
type pipelineClock struct{ took chan time.Duration }

func (c *pipelineClock) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c *pipelineClock) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *pipelineClock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		begin := time.Now()
		err := next(ctx, cmds)
		select {
		case c.took <- time.Since(begin):
		default: // nobody wants to know
		}
		return err
	}
}

// heartbeats times those of a session that holds many streams. What is spent meanwhile is
// mostly waiting for the next one, so it is not counted.
func heartbeats(ctx context.Context, l *lab) (sample, error) {
	client, err := l.connect(0)
	if err != nil {
		return sample{}, err
	}
	defer client.Close()
	clock := &pipelineClock{took: make(chan time.Duration)}
	client.AddHook(clock)
	return l.onWorker(ctx, client, 0, l.scaled(heldStreams, claimSize), 1, beatTTL, func(a *announced, session *lease.Session) (sample, error) {
		if _, err := a.claim(ctx); err != nil {
			return sample{}, err
		}
		// From here on the heartbeats are all there is.
		var took []float64
		for len(took) < beats {
			select {
			case d := <-clock.took:
				took = append(took, micros(d))
			case <-session.Done():
				return sample{}, session.Err()
			case <-ctx.Done():
				return sample{}, ctx.Err()
			}
		}
		return sample{value: median(took)}, nil
	})
}

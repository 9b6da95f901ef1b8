package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/balancer"
)

// pending is an entry that Redis itself says is pending: given to a consumer, which is the
// session of a picker, and not acknowledged.
type pending struct {
	lane, order, consumer string
	idle                  time.Duration
}

// pendingIn asks Redis what XPENDING says of the groups behind the lanes. No program needs
// that; it is what balancer.Lanes.Streams knows too, without the times.
func pendingIn(ctx context.Context, client redis.UniversalClient, l *balancer.Lanes) (all []pending, err error) {
	for _, lane := range lanes {
		b := l.Lane(lane.Name)
		keys := keyspace.New(b.Namespace(), b.Partitions())
		for p := range b.Partitions() {
			entries, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{
				Stream: keys.Log(p), Group: "workers", Start: "-", End: "+", Count: 1000,
			}).Result()
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				messages, err := client.XRange(ctx, keys.Log(p), e.ID, e.ID).Result()
				if err != nil {
					return nil, err
				}
				for _, m := range messages { // none where it was finished meanwhile
					order, _ := m.Values["s"].(string)
					all = append(all, pending{lane.Name, order, e.Consumer, e.Idle})
				}
			}
		}
	}
	return all, nil
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/projector/daemon"
)

// keeps is how many readings their producer keeps.
const keeps = 1000

// produced is an entry, as a program in any language would add it.
func produced(key string, fields ...any) *redis.XAddArgs {
	a := &redis.XAddArgs{Stream: key, Values: fields}
	if key != "leads" {
		a.MaxLen, a.Approx = keeps, true
	}
	return a
}

func reading(room, temperature, humidity any) []any {
	return []any{"temperature", temperature, "humidity", humidity, "location", room}
}

// traffic is what other programs write while somebody looks on. They know nothing of
// projectord.
func traffic(ctx context.Context, b *daemon.Backends) error {
	for n := 0; ; n++ {
		lead := 1 + n/3
		entry := produced("leads", "event_type", "lead.created", "lead_id", lead, "created_by", []string{"shaon", "ann", "li"}[rand.IntN(3)])
		switch n % 3 {
		case 1:
			entry = produced("leads", "event_type", "lead.contacted", "lead_id", lead, "contacted_by", "ann")
		case 2:
			entry = produced("leads", "event_type", "lead.won", "lead_id", lead, "amount", 100+rand.IntN(900))
		}
		measured := produced(fmt.Sprintf("sensor_readings:%d", 1+n%2),
			reading(fmt.Sprintf("room_%d", 1+n%3), fmt.Sprintf("%.2f", 10+50*rand.Float64()), fmt.Sprintf("%.2f", 20+80*rand.Float64()))...)
		for _, e := range []*redis.XAddArgs{entry, measured} {
			if err := b.Redis.XAdd(ctx, e).Err(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(400 * time.Millisecond):
		}
	}
}

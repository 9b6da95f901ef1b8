package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// What Redis takes, roughly and rather more: for what samples write and remove again, for
// a stream with what is derived from it, and for an event.
const (
	samplesBytes  = 384 << 20
	streamBytes   = 3 << 10
	perEventBytes = 300
)

// enoughMemory returns an error where Redis has not the memory that rows take, or this
// machine not what a cluster takes.
func (l *lab) enoughMemory(ctx context.Context, rows []*row) error {
	need := int64(samplesBytes)
	carts := int64(l.Streams)*streamBytes + int64(l.Events)*perEventBytes
	if slices.ContainsFunc(rows, func(r *row) bool { return r.filled }) {
		need += carts
	}
	if slices.ContainsFunc(rows, func(r *row) bool { return r.clustered }) {
		if l.server != nil {
			need += carts // out of the same memory
		}
		if free, known := machineMemory(); known && carts > free {
			return fmt.Errorf("this machine has %d MiB of memory left, and the cluster of --full takes about %d: use fewer --events and --streams, or --only rows that need none", free>>20, carts>>20)
		}
	}
	own := int64(0) // one after the other
	for _, r := range rows {
		own = max(own, int64(l.scaled(r.own, 0)))
	}
	need += own * (streamBytes/cartEvents + perEventBytes)
	free, known, err := l.freeMemory(ctx)
	if err != nil || !known || need <= free {
		return err
	}
	return fmt.Errorf("redis at %s has %d MiB of memory left, and this takes about %d: use fewer --events and --streams, or --only rows that need none of them", shown(l.redisURL), free>>20, need>>20)
}

// freeMemory returns how much memory a Redis may still take, as far as that can be known.
func (l *lab) freeMemory(ctx context.Context) (free int64, known bool, err error) {
	info, err := l.redis.Info(ctx, "memory").Result()
	if err != nil {
		return 0, false, fmt.Errorf("redis at %s: %w", shown(l.redisURL), err)
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(field(info, name), 10, 64)
		return n
	}
	if most := number("maxmemory"); most > 0 {
		return most - number("used_memory"), true, nil
	}
	if l.server != nil {
		free, known = machineMemory()
		return free, known, nil
	}
	if total := number("total_system_memory"); total > 0 {
		return total - number("used_memory_rss"), true, nil
	}
	return 0, false, nil
}

// machineMemory returns how much memory this machine has available, where it says so.
func machineMemory() (bytes int64, known bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

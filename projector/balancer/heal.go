package balancer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

const (
	// healer is the role of who heals.
	healer = "heal"
	// healEvery is about how often it is done, by one worker of all: each tries within a
	// quarter of it, and who has done it keeps the others from it for half of it.
	healEvery = 5 * time.Minute
)

// Heal looks for streams that are announced and that no worker could come upon, announces
// them anew, and returns how many there were. That there are some takes two losses at once,
// such as keys that were deleted by hand and a worker that died before it noticed. One
// worker of all does it every few minutes. It reads the registry, and what is undelivered
// or pending, in pages; streams that are announced or finished meanwhile do no harm.
func (b *Balancer) Heal(ctx context.Context) (int, error) {
	healed := 0
	for p := range b.log.Partitions() {
		// In this order: what is entered later has a pointer, and announcing what is
		// finished by then does nothing.
		lost := make(map[string]bool)
		for r, err := range b.group.Registry(ctx, p) {
			if err != nil {
				return healed, err
			}
			lost[r.Stream] = true
		}
		if len(lost) == 0 {
			continue
		}
		for o, err := range b.group.Outstanding(ctx, p) {
			if err != nil {
				return healed, err
			}
			delete(lost, o.Stream)
		}
		var streams []string
		for stream := range lost {
			streams = append(streams, stream)
		}
		if err := b.log.Announce(ctx, streams); err != nil {
			return healed, err
		}
		healed += len(streams)
	}
	return healed, nil
}

// heal heals now and then, where no other worker is at it.
func (w *Worker) heal() {
	for {
		if pause(w.life, healEvery-rand.N(healEvery/4)); w.life.Err() != nil {
			return
		}
		role, err := lease.AcquireRole(w.life, w.balancer.client, lease.RoleConfig{Namespace: w.balancer.Namespace(), Role: healer, TTL: healEvery / 2})
		if errors.Is(err, lease.ErrRoleTaken) {
			continue
		}
		healed := 0
		if err == nil {
			// The role is kept for a while, so that the others do not do it again.
			healed, err = w.balancer.Heal(w.life)
		}
		if err != nil {
			w.failed(err)
			if role != nil {
				role.Release(w.life)
			}
		}
		if healed > 0 {
			w.logger.Warn("streams were announced anew that no worker could have come upon: Redis has lost something", "streams", healed)
		}
	}
}

package lease

import (
	"context"
	"slices"
)

// leftSuffix is behind the name of a session in that of the consumer which has what the
// session gave back before its end. What is behind the name of a worker in that of a session
// is longer.
const leftSuffix = ".left"

// Leave gives back streams before the session ends: their leases are dropped, and the
// pointers, those of the claims that are pending for the session, go to whoever sweeps. In
// partitions where some of them wait it says so, so that others sweep at once. Leaving again,
// with other streams or none, says it again as long as some wait. A session that leaves reads and claims nothing more, and may settle or park what
// it kept. The error wraps [ErrFenced] when the session is dead; after any other error some
// streams may be given back.
func (m *Member) Leave(ctx context.Context, claims []Claim) error {
	return m.leave(ctx, claims, true)
}

// HandBack is [Member.Leave] for a session that goes on, and wants others to have the
// streams of these claims. The word that it leaves in the log may come to itself: see
// [Member.Wake]. Whatever sweeps next takes them over, which may be the session itself. It
// makes one attempt, and handing back again what was handed back does no harm.
func (m *Member) HandBack(ctx context.Context, claims []Claim) error {
	if len(claims) == 0 {
		return m.session.Err()
	}
	return m.leave(ctx, claims, false)
}

func (m *Member) leave(ctx context.Context, claims []Claim, ending bool) error {
	if err := m.session.Err(); err != nil {
		return err
	}
	batches := m.log.batches(len(claims), func(i int) (string, int) { return claims[i].Stream, len(claims[i].Pointers) })
	for _, p := range m.session.partitions {
		if ending && !slices.ContainsFunc(batches, func(b *batch) bool { return b.partition == p }) {
			batches = append(batches, &batch{partition: p})
		}
	}
	calls := make([]call, len(batches))
	for i, b := range batches {
		keys := m.log.keys
		args := []any{m.group.name, m.session.name}
		for _, k := range b.items {
			args = append(args, claims[k].Stream, len(claims[k].Pointers))
			for _, id := range claims[k].Pointers {
				args = append(args, id)
			}
		}
		calls[i] = call{
			partition: b.partition,
			keys:      []string{keys.Sessions(b.partition), keys.Log(b.partition), keys.Leases(b.partition, m.group.name)},
			args:      args,
		}
		if ending {
			calls[i].keys = append(calls[i].keys, keys.Draining(b.partition))
		}
	}
	run := m.log.once
	if ending {
		run = m.log.run
	}
	replies, err := run(ctx, "leaving", m.log.scripts.leave, calls)
	if err != nil {
		return err
	}
	for i, b := range batches {
		if err := m.fenced(b.partition, replies[i]); err != nil {
			return err
		}
	}
	return nil
}

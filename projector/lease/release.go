package lease

import "context"

// Release drops the leases of streams that the session has and acknowledges
// nothing: their pointers stay pending for the session, which claims them again
// or leaves them to others when it stops. Streams it does not have are left
// alone. The error wraps [ErrFenced] when the session is dead.
func (m *Member) Release(ctx context.Context, streams []string) error {
	if err := m.session.Err(); err != nil || len(streams) == 0 {
		return err
	}
	batches := m.log.batches(len(streams), func(i int) (string, int) { return streams[i], 0 })
	calls := make([]call, len(batches))
	for i, b := range batches {
		args := []any{m.session.name}
		for _, k := range b.items {
			args = append(args, streams[k])
		}
		calls[i] = call{
			partition: b.partition,
			keys:      []string{m.log.keys.Sessions(b.partition), m.log.keys.Leases(b.partition, m.group.name)},
			args:      args,
		}
	}
	replies, err := m.log.run(ctx, "releasing", m.log.scripts.release, calls)
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

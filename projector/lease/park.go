package lease

import (
	"context"
	"encoding/json"
	"fmt"
)

// Park takes a stream that the session has out of work until it is retried, and
// acknowledges its pointers. The result is [Done], or [NotMine] where nothing was
// written and the pointers are to be claimed again. The error wraps [ErrFenced]
// when the session is dead.
func (m *Member) Park(ctx context.Context, stream string, pointers []string, why Parking) (Result, error) {
	if err := m.session.Err(); err != nil {
		return 0, err
	}
	text, err := json.Marshal(why)
	if err != nil {
		return 0, fmt.Errorf("lease: parking %s: %w", stream, err)
	}
	p, keys := m.log.keys.Partition(stream), m.log.keys
	args := []any{m.group.name, m.session.name, stream, text}
	for _, id := range pointers {
		args = append(args, id)
	}
	replies, err := m.log.run(ctx, "parking "+stream, m.log.scripts.park, []call{{
		partition: p,
		keys:      []string{keys.Sessions(p), keys.Log(p), keys.Leases(p, m.group.name), keys.Parked(p, m.group.name)},
		args:      args,
	}})
	if err != nil {
		return 0, err
	}
	if err := m.fenced(p, replies[0]); err != nil {
		return 0, err
	}
	switch replies[0] {
	case int64(Done):
		return Done, nil
	case int64(NotMine):
		return NotMine, nil
	}
	return 0, strange("parking "+stream, replies[0])
}

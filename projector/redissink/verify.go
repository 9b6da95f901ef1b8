package redissink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

var _ projector.EffectsReader = (*Delta)(nil)

// ErrMoving is wrapped by errors about rows that were being changed whenever they were
// read.
var ErrMoving = errors.New("its rows are changed faster than they can be read, so that there is no moment they could be read as of: pause what appends or its workers, or keep the projection in Postgres")

const (
	// readAttempts is how often rows are read, to find a time when nobody changed them,
	// and readWait how long after each attempt, times its number.
	readAttempts = 8
	readWait     = 50 * time.Millisecond
	// readKeys is how many keys one round trip reads.
	readKeys = 500
)

// ReadEffects implements [projector.EffectsReader]. It reads the checkpoints, the rows
// and the checkpoints again. Rows change only together with a checkpoint, so where those
// are the same the rows are the ones of that moment. Else it begins anew, some times,
// and gives up with [ErrMoving]. It walks the keys of the server; see [Delta.Drop] for
// what is taken for a row.
func (s *Delta) ReadEffects(ctx context.Context, g projector.Generation) (projector.EffectsImage, error) {
	image, err := s.readEffects(ctx, g)
	if err != nil {
		return projector.EffectsImage{}, fmt.Errorf("redissink: reading generation %d of %s: %w", g, s.model, redisx.Explain(err))
	}
	return image, nil
}

func (s *Delta) readEffects(ctx context.Context, g projector.Generation) (projector.EffectsImage, error) {
	before, err := s.allCheckpoints(ctx, g)
	if err != nil {
		return projector.EffectsImage{}, err
	}
	for attempt := range readAttempts {
		rows, err := s.allRows(ctx, g)
		if err != nil {
			return projector.EffectsImage{}, err
		}
		after, err := s.allCheckpoints(ctx, g)
		if err != nil {
			return projector.EffectsImage{}, err
		}
		if maps.Equal(before, after) {
			return projector.EffectsImage{Rows: rows, Checkpoints: after}, nil
		}
		before = after
		select {
		case <-ctx.Done():
			return projector.EffectsImage{}, ctx.Err()
		case <-time.After(time.Duration(attempt) * readWait):
		}
	}
	return projector.EffectsImage{}, fmt.Errorf("%d times: %w", readAttempts, ErrMoving)
}

// allRows reads all rows, not as of one moment.
func (s *Delta) allRows(ctx context.Context, g projector.Generation) (map[string]map[string]string, error) {
	prefix := s.rowKey(g, "")
	rows := make(map[string]map[string]string)
	err := s.eachRows(ctx, g, "", func(names []string) error {
		return s.readRows(ctx, names, func(name string, row map[string]string) {
			if len(row) > 0 { // else it has gone
				rows[strings.TrimPrefix(name, prefix)] = row
			}
		})
	})
	return rows, err
}

func (s *Delta) readRows(ctx context.Context, names []string, visit func(string, map[string]string)) error {
	if len(names) == 0 {
		return nil
	}
	cmds := make([]*redis.MapStringStringCmd, len(names))
	err := redisx.Retry(ctx, func() error {
		_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, name := range names {
				cmds[i] = pipe.HGetAll(ctx, name)
			}
			return nil
		})
		if ofKey(err) {
			return nil // it is told with its key
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, cmd := range cmds {
		row, err := cmd.Result()
		if err != nil {
			return fmt.Errorf("key %s: %w", names[i], err)
		}
		visit(names[i], row)
	}
	return nil
}

// allCheckpoints reads all checkpoints, each as it is at some moment meanwhile. They only
// ever go forward, so one that is the same before and after something was so throughout.
func (s *Delta) allCheckpoints(ctx context.Context, g projector.Generation) (map[string]projector.Checkpoint, error) {
	at := make(map[string]projector.Checkpoint)
	for p := range s.keys.Partitions() {
		hash := s.keys.Checkpoints(p, s.group(g))
		var cursor uint64
		for {
			var fields []string
			err := redisx.Retry(ctx, func() (err error) {
				var next uint64
				fields, next, err = s.client.HScan(ctx, hash, cursor, "", readKeys).Result()
				if err == nil {
					cursor = next
				}
				return err
			})
			for i := 0; err == nil && i+1 < len(fields); i += 2 {
				if at[fields[i]], err = parseField(fields[i+1]); err != nil {
					err = fmt.Errorf("field %s: %w", fields[i], err)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("key %s: %w", hash, err)
			}
			if cursor == 0 {
				break
			}
		}
	}
	return at, nil
}

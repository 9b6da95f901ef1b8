package lease

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Drain asks a session to end, wherever its process is; [Session.Asked] tells the
// process, at its next heartbeat, within two seconds. What is asked of is this session:
// one of the same worker that begins later knows nothing of it. A process that is stuck
// or cut off until its session is dead learns it when it goes on and stops the session, for
// an hour; [Log.Drained] tells whether it has. Asking again changes
// nothing. The error wraps [ErrFenced] where no such session lives.
func (l *Log) Drain(ctx context.Context, session string) error {
	calls := make([]call, l.Partitions())
	for p := range calls {
		calls[p] = call{partition: p, keys: []string{l.keys.Sessions(p), l.keys.Draining(p)}, args: []any{session}}
	}
	replies, err := l.run(ctx, "asking "+session+" to end", l.scripts.drain, calls)
	if err != nil {
		return err
	}
	for _, reply := range replies {
		if reply == int64(codeDone) {
			return nil
		}
	}
	return fmt.Errorf("lease: asking %s to end: %w: it lives in no partition", session, ErrFenced)
}

// Asked is closed when the session is known to have been asked to end, by [Log.Drain].
// Whoever runs it finishes what is under way and stops it; it lives until then.
func (s *Session) Asked() <-chan struct{} { return s.asked }

// heed notes whether a script said that the session was asked to end.
func (s *Session) heed(reply any) {
	if reply == int64(codeAsked) {
		s.askedOnce.Do(func() { close(s.asked) })
	}
}

// Drained reports whether a session that was asked to end by [Log.Drain], up to an hour
// ago, was stopped by its process after that: the process knows. One that died has not
// been, and its process, if there still is one, goes on. It is one round trip and blocks
// that long.
func (l *Log) Drained(ctx context.Context, session string) (bool, error) {
	var stopped, asked int
	err := redisx.Retry(ctx, func() error {
		stopped, asked = 0, 0
		pipe := l.client.Pipeline()
		marks := make([]*redis.StringCmd, l.Partitions())
		for p := range marks {
			marks[p] = pipe.HGet(ctx, l.keys.Draining(p), session)
		}
		pipe.Exec(ctx)
		for _, cmd := range marks {
			switch mark, err := cmd.Result(); {
			case err == redis.Nil:
			case err != nil:
				return err
			case strings.HasSuffix(mark, "e"):
				stopped++
			default:
				asked++
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("lease: looking whether %s has ended: %w", session, redisx.Explain(err))
	}
	return stopped > 0 && asked == 0, nil
}

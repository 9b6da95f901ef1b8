package lease

import (
	"context"
	"fmt"
)

// Drain asks a session to end, wherever its process is; [Session.Asked] tells the
// process, at its next heartbeat, within two seconds. What is asked of is this session:
// one of the same worker that begins later knows nothing of it, so whoever wants the
// worker gone looks whether its session has ended, see [Log.Live]. Asking again changes
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

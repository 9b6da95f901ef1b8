package lease

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// call is a call of a script, which touches one partition.
type call struct {
	partition int
	keys      []string
	args      []any
	// count is the key of a hash of the partition whose fields are counted when the
	// script is done, on the same connection; "" for none. counted is the answer.
	count   string
	counted *redis.IntCmd
}

// run makes calls of a script in one round trip and returns their replies. It
// makes all of them again where one failed and may pass.
func (l *Log) run(ctx context.Context, doing string, script *redis.Script, calls []call) (replies []any, err error) {
	err = redisx.Retry(ctx, func() error {
		replies, err = l.once(ctx, doing, script, calls)
		return err
	})
	return replies, err
}

// once is run without a second attempt.
func (l *Log) once(ctx context.Context, doing string, script *redis.Script, calls []call) ([]any, error) {
	cmds := l.evaluate(ctx, script, calls)
	if err := l.load(ctx, script, calls, cmds); err != nil {
		return nil, l.failed(doing, calls[0].partition, err)
	}
	replies := make([]any, len(calls))
	for i, cmd := range cmds {
		reply, err := cmd.Result()
		if counted := calls[i].counted; err == nil && counted != nil {
			err = counted.Err()
		}
		if err != nil {
			return nil, l.failed(doing, calls[i].partition, err)
		}
		replies[i] = reply
	}
	return replies, nil
}

// load gives the script to servers that do not know it, and makes again the
// calls that failed for that.
func (l *Log) load(ctx context.Context, script *redis.Script, calls []call, cmds []*redis.Cmd) error {
	var unknown []int
	var again []call
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			unknown, again = append(unknown, i), append(again, calls[i])
		}
	}
	if len(again) == 0 {
		return nil
	}
	if err := redisx.EachMaster(ctx, l.client, func(ctx context.Context, c *redis.Client) error {
		return script.Load(ctx, c).Err()
	}); err != nil {
		return err
	}
	for k, cmd := range l.evaluate(ctx, script, again) {
		cmds[unknown[k]] = cmd
		calls[unknown[k]].counted = again[k].counted
	}
	return nil
}

// evaluate returns the executed commands; each has its own error.
func (l *Log) evaluate(ctx context.Context, script *redis.Script, calls []call) []*redis.Cmd {
	pipe := l.client.Pipeline()
	cmds := make([]*redis.Cmd, len(calls))
	for i, c := range calls {
		cmds[i] = script.EvalSha(ctx, pipe, c.keys, c.args...)
		if c.count != "" {
			calls[i].counted = pipe.HLen(ctx, c.count)
		}
	}
	pipe.Exec(ctx)
	return cmds
}

// failed says what went wrong and where.
func (l *Log) failed(doing string, partition int, err error) error {
	explained := redisx.Explain(err)
	if isNoGroup(err) {
		explained = fmt.Errorf("%w: %w", ErrNoGroup, explained)
	}
	return fmt.Errorf("lease: %s, partition %d, key %s: %w", doing, partition, l.keys.Log(partition), explained)
}

// isNoGroup reports whether the server says that there is no such group, or no
// log that could have one. A script's error has that somewhere in its text.
func isNoGroup(err error) bool {
	return redisx.IsReply(err) && (strings.Contains(err.Error(), "NOGROUP") || strings.Contains(err.Error(), "no such key"))
}

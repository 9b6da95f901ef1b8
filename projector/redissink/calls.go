package redissink

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

const (
	// callBytes bounds a script call, so that it never holds the server for
	// more than a few milliseconds; a command within it counts as
	// commandBytes. pipelineKeys bounds a pipeline.
	callBytes    = 1 << 20
	commandBytes = 256
	callChanges  = 256
	pipelineKeys = 256
)

// Codes that the scripts return for a change that was not made, each with two values. Of
// those that were made, now or by an earlier call whose reply was lost, they say nothing.
const (
	codeRefused = iota + 1 // position and event id that are there
	codeFailed             // what Redis said, and the key; nothing was changed
	codeEffect             // what is wrong with an effect, and the key; nothing was changed
	codeForeign            // what is wrong with the key, and the key; nothing was changed
)

// codeValues is how many values a script returns for such a change: the place of the
// change in the call, from 1, the code and its two values.
const codeValues = 4

// call is the arguments of one script call, which makes one or more changes.
type call struct {
	first, n int // which changes
	keys     []string
	args     []any
	bytes    int
}

// full reports whether another change shall go into another call.
func (c *call) full(width int) bool { return c.n == width || c.bytes > callBytes }

// commit makes script calls, some at a time in one round trip, and returns what
// became of the changes, as [projector.Sink] says.
func commit(ctx context.Context, client redis.UniversalClient, script *redis.Script, changes []projector.Change, calls []*call, atOnce int) ([]error, error) {
	var refused []error
	for len(calls) > 0 {
		n := min(atOnce, len(calls))
		replies, err := run(ctx, client, script, calls[:n])
		if err != nil {
			return refused, fmt.Errorf("redissink: committing %d changes, among them that of %s: %w", n*calls[0].n, changes[calls[0].first].Stream, redisx.Explain(err))
		}
		for i, c := range calls[:n] {
			for not := range slices.Chunk(replies[i], codeValues) {
				if refused == nil {
					refused = make([]error, len(changes))
				}
				k := c.first + int(not[0].(int64)) - 1
				refused[k] = verdict(&changes[k], not[1:])
			}
		}
		calls = calls[n:]
	}
	return refused, nil
}

// run makes script calls in one round trip and returns their replies. Making
// them again is harmless: what was committed is found committed.
func run(ctx context.Context, client redis.UniversalClient, script *redis.Script, calls []*call) (replies [][]any, err error) {
	evaluate := func() ([]redis.Cmder, error) {
		return client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, c := range calls {
				script.EvalSha(ctx, p, c.keys, c.args...)
			}
			return nil
		})
	}
	err = redisx.Retry(ctx, func() error {
		cmds, err := evaluate()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			// A server that started since does not know the script.
			if err := redisx.EachMaster(ctx, client, func(ctx context.Context, c *redis.Client) error {
				return script.Load(ctx, c).Err()
			}); err != nil {
				return err
			}
			cmds, err = evaluate()
		}
		if err != nil {
			return err
		}
		replies = make([][]any, len(cmds))
		for i, cmd := range cmds {
			replies[i], err = cmd.(*redis.Cmd).Slice()
			if err == nil {
				err = check(replies[i], calls[i].n)
			}
			if err == nil {
				err = trouble(replies[i])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return replies, err
}

// check returns an error where a reply is none of a script for so many changes.
func check(reply []any, changes int) error {
	if len(reply)%codeValues != 0 {
		return fmt.Errorf("the script returned %d values for %d changes, which are not %d for each it did not make", len(reply), changes, codeValues)
	}
	for not := range slices.Chunk(reply, codeValues) {
		if place, ok := not[0].(int64); !ok || place < 1 || place > int64(changes) {
			return fmt.Errorf("the script returned %v as the place of one of %d changes", not[0], changes)
		}
	}
	return nil
}

// trouble returns what Redis said where it failed to make a change for a reason that
// is not the change's: it has no memory left, takes no writes now, or none from this
// user. Nil where there is none.
func trouble(reply []any) error {
	for not := range slices.Chunk(reply, codeValues) {
		text, _ := not[2].(string)
		if err := redisx.ReplyError(text); not[1] == int64(codeFailed) && !ofKey(err) {
			return fmt.Errorf("key %v: %w", not[3], err)
		}
	}
	return nil
}

// ofKey reports whether an error is about what a key holds.
func ofKey(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

// verdict translates what a script returned for one change that it did not make.
func verdict(ch *projector.Change, reply []any) error {
	first, _ := reply[1].(string)
	second, _ := reply[2].(string)
	switch reply[0] {
	case int64(codeRefused):
		actual := projector.Checkpoint{}
		if first != "" || second != "" {
			var err error
			if actual, err = parseCheckpoint(first, second); err != nil {
				return fmt.Errorf("redissink: committing %s: %w", ch.Stream, err)
			}
		}
		return &projector.RefusedError{Stream: ch.Stream, From: ch.From, Actual: actual}
	case int64(codeEffect):
		return fmt.Errorf("redissink: committing %s: key %s: %w: %s", ch.Stream, second, projector.ErrEffect, first)
	case int64(codeForeign):
		return fmt.Errorf("redissink: committing %s: key %s: %s", ch.Stream, second, first)
	}
	return fmt.Errorf("redissink: committing %s: key %s: %w", ch.Stream, second, redisx.Explain(redisx.ReplyError(first)))
}

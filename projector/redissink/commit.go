package redissink

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// call is the arguments of one script call.
type call struct {
	keys  []string
	args  []any
	bytes int
	first int // which change the first key belongs to
}

// Commit implements [projector.Sink]. On a single Redis a script call carries
// many documents. On a cluster their keys lie in different slots, so each has a
// call of its own, and those are pipelined.
func (s *Sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	_, cluster := s.client.(*redis.ClusterClient)
	width := callKeys
	if cluster {
		width = 1
	}
	var refused []error
	calls := s.calls(g, changes, width)
	for len(calls) > 0 {
		n := 1
		if cluster {
			n = min(pipelineKeys, len(calls))
		}
		replies, err := s.run(ctx, calls[:n])
		if err != nil {
			return refused, fmt.Errorf("redissink: committing %d documents of %s, among them %s: %w", n*len(calls[0].keys), s.model, calls[0].keys[0], redisx.Explain(err))
		}
		for i, c := range calls[:n] {
			for k := range c.keys {
				err := verdict(changes[c.first+k], c.keys[k], replies[i][3*k:])
				if err == nil {
					continue
				}
				if redis.HasErrorPrefix(err, "OOM") {
					return refused, err
				}
				if refused == nil {
					refused = make([]error, len(changes))
				}
				refused[c.first+k] = err
			}
		}
		calls = calls[n:]
	}
	return refused, nil
}

// calls packs changes into script calls of at most width keys.
func (s *Sink) calls(g projector.Generation, changes []projector.Change, width int) []*call {
	var calls []*call
	var c *call
	for i := range changes {
		if c == nil || len(c.keys) == width || c.bytes > callBytes {
			c = &call{first: i}
			calls = append(calls, c)
		}
		c.add(s.key(g, changes[i].Key), &changes[i])
	}
	return calls
}

func (c *call) add(key string, ch *projector.Change) {
	position, event := checkpointArgs(ch.From)
	toPosition, toEvent := checkpointArgs(ch.To)
	fields := ch.Document.Fields()
	c.keys = append(c.keys, key)
	c.args = append(c.args, position, event, toPosition, toEvent, len(fields))
	for _, f := range fields {
		value := f.Value.String()
		c.args = append(c.args, f.Name, value)
		c.bytes += len(f.Name) + len(value)
	}
}

// checkpointArgs renders a checkpoint for the script, "" and "" for none.
func checkpointArgs(c projector.Checkpoint) (position, event string) {
	if c.IsZero() {
		return "", ""
	}
	return c.Position.String(), c.EventID.String()
}

// run makes script calls in one round trip and returns their replies. Making
// them again is harmless: what was committed is found committed.
func (s *Sink) run(ctx context.Context, calls []*call) (replies [][]any, err error) {
	err = redisx.Retry(ctx, func() error {
		cmds, err := s.evaluate(ctx, calls)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			// A server that started since does not know the script.
			if err := redisx.EachMaster(ctx, s.client, func(ctx context.Context, c *redis.Client) error {
				return commitScript.Load(ctx, c).Err()
			}); err != nil {
				return err
			}
			cmds, err = s.evaluate(ctx, calls)
		}
		if err != nil {
			return err
		}
		replies = make([][]any, len(cmds))
		for i, cmd := range cmds {
			replies[i], err = cmd.(*redis.Cmd).Slice()
			if err == nil && len(replies[i]) != 3*len(calls[i].keys) {
				err = fmt.Errorf("the commit script returned %d values for %d documents", len(replies[i]), len(calls[i].keys))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return replies, err
}

func (s *Sink) evaluate(ctx context.Context, calls []*call) ([]redis.Cmder, error) {
	return s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range calls {
			commitScript.EvalSha(ctx, p, c.keys, c.args...)
		}
		return nil
	})
}

// verdict translates what the script returned for one document.
func verdict(ch projector.Change, key string, reply []any) error {
	first, _ := reply[1].(string)
	second, _ := reply[2].(string)
	switch reply[0] {
	case int64(codeMade):
		return nil
	case int64(codeRefused):
		actual := projector.Checkpoint{}
		if first != "" {
			var err error
			if actual, err = parseCheckpoint(first, second); err != nil {
				return fmt.Errorf("redissink: committing %s: key %s: %w", ch.Stream, key, err)
			}
		}
		return &projector.RefusedError{Stream: ch.Stream, From: ch.From, Actual: actual}
	}
	return fmt.Errorf("redissink: committing %s: key %s: %w", ch.Stream, key, redisx.Explain(redisx.ReplyError(first)))
}

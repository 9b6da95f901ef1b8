package redissink

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/projector"
)

// Commit implements [projector.Sink]. On a single Redis a script call carries
// many documents. On a cluster their keys lie in different slots, so each has a
// call of its own, and those are pipelined.
func (s *Sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	width, atOnce := callChanges, 1
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		width, atOnce = 1, pipelineKeys
	}
	var calls []*call
	var c *call
	for i := range changes {
		if c == nil || c.full(width) {
			c = &call{first: i}
			calls = append(calls, c)
		}
		c.addDocument(s.key(g, changes[i].Key), &changes[i])
	}
	return commit(ctx, s.client, commitScript, changes, calls, atOnce)
}

// noDocument stands in the place of the number of fields.
const noDocument = -1

func (c *call) addDocument(key string, ch *projector.Change) {
	position, event := checkpointArgs(ch.From)
	toPosition, toEvent := checkpointArgs(ch.To)
	c.n++
	c.keys = append(c.keys, key)
	c.args = append(c.args, position, event, toPosition, toEvent)
	if ch.Document == nil {
		c.args = append(c.args, noDocument)
		return
	}
	fields := ch.Document.Fields()
	c.args = append(c.args, len(fields))
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

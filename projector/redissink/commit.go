package redissink

import (
	"context"
	"strconv"

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
			n := min(width, len(changes)-i)
			texts := n * (5 + len(changes[i].Document.Fields())) // about as many as the first has
			c = &call{first: i, keys: make([]string, 0, n), texts: make([]string, 0, texts), args: make([]any, 0, 2*texts)}
			calls = append(calls, c)
		}
		c.addDocument(s.key(g, changes[i].Key), &changes[i])
	}
	return commit(ctx, s.client, commitScript, changes, calls, atOnce)
}

// noDocument stands in the place of the number of fields.
const noDocument = "-1"

func (c *call) addDocument(key string, ch *projector.Change) {
	position, event := checkpointArgs(ch.From)
	toPosition, toEvent := checkpointArgs(ch.To)
	c.n++
	c.keys = append(c.keys, key)
	if ch.Document == nil {
		c.add(position, event, toPosition, toEvent, noDocument)
		return
	}
	fields := ch.Document.Fields()
	c.add(position, event, toPosition, toEvent, strconv.Itoa(len(fields)))
	for i := range fields {
		value := fields[i].Value.String()
		c.args = append(c.args, &fields[i].Name)
		c.add(value)
		c.bytes += len(fields[i].Name) + len(value)
	}
}

// add adds arguments that are texts. The client takes pointers to them, which fit into
// an interface as they are, where a string has to be moved to the heap.
func (c *call) add(texts ...string) {
	for _, t := range texts {
		c.texts = append(c.texts, t)
		c.args = append(c.args, &c.texts[len(c.texts)-1])
	}
}

// checkpointArgs renders a checkpoint for the script, "" and "" for none.
func checkpointArgs(c projector.Checkpoint) (position, event string) {
	if c.IsZero() {
		return "", ""
	}
	return c.Position.String(), c.EventID.String()
}

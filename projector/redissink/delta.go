package redissink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// ErrCluster means that a sink of effects was asked for on a Redis Cluster.
var ErrCluster = errors.New("effects cannot be kept on a Redis Cluster: a stream's checkpoint and the rows it changes lie in different slots, and no script can change them together; keep the projection in Postgres")

// DeltaConfig configures [NewDelta].
type DeltaConfig struct {
	CheckpointsConfig
	// Model is the name of the read model, for example "product:totals": 1 to
	// 200 bytes of UTF-8 without braces or at signs, not ending in a colon.
	Model string
}

// Delta is a [projector.Sink] of effects on a single Redis. A row is a hash, named
// like a document of [Sink], without checkpoint fields; counts are in decimal and
// values are text. The checkpoints of the streams are in a hash per partition beside
// it, and both change in one script. It is safe for concurrent use and needs no
// closing; the client belongs to the caller.
type Delta struct {
	checkpoints
	model string
}

// What it is besides a [projector.Sink].
var _ projector.Dropper = (*Delta)(nil)

// NewDelta returns the sink of a delta projection. A *redis.ClusterClient is refused
// with [ErrCluster].
func NewDelta(client redis.UniversalClient, config DeltaConfig) (*Delta, error) {
	if _, cluster := client.(*redis.ClusterClient); cluster {
		return nil, fmt.Errorf("redissink: projection %s: %w", config.Projection, ErrCluster)
	}
	checkpoints, err := newCheckpoints(client, config.CheckpointsConfig)
	if err != nil {
		return nil, err
	}
	model, err := modelName(config.Namespace, config.Model)
	if err != nil {
		return nil, err
	}
	return &Delta{checkpoints, model}, nil
}

// Begin implements [projector.Sink]. It refuses a node of a cluster with
// [ErrCluster], and a server that would lose what it is given.
func (s *Delta) Begin(ctx context.Context, g projector.Generation) error {
	var info string
	err := redisx.Retry(ctx, func() (err error) {
		info, err = s.client.Info(ctx, "cluster").Result()
		return err
	})
	// A server that does not tell is taken for a single one: on a cluster the
	// first commit would fail without changing anything.
	if err == nil && strings.Contains(info, "cluster_enabled:1") {
		return fmt.Errorf("redissink: projection %s: %w", s.projection, ErrCluster)
	}
	if err := s.checkpoints.Begin(ctx, g); err != nil {
		return err
	}
	return s.noteModel(ctx)
}

// Commit implements [projector.Sink]. A script call carries many streams, each with
// all its effects.
func (s *Delta) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused := make([]error, len(changes))
	var good []projector.Change
	var places []int
	var calls []*call
	var c *call
	for i := range changes {
		if f := changes[i].Effects; f != nil && len(f.Attached()) > 0 {
			refused[i] = fmt.Errorf("redissink: committing %s: %w: a %T was attached, which Redis does not know", changes[i].Stream, projector.ErrEffect, f.Attached()[0])
			continue
		}
		if c == nil || c.full(callChanges) {
			c = &call{first: len(good)}
			calls = append(calls, c)
		}
		good, places = append(good, changes[i]), append(places, i)
		c.addEffects(s.key(g, changes[i].Key), &changes[i], func(row string) string { return s.rowKey(g, row) })
	}
	some, err := commit(ctx, s.client, effectsScript, good, calls, 1)
	for i, bad := range some {
		refused[places[i]] = bad
	}
	if !slices.ContainsFunc(refused, func(err error) bool { return err != nil }) {
		refused = nil
	}
	return refused, err
}

func (s *Delta) rowKey(g projector.Generation, row string) string {
	return documentKey(s.model, g, row)
}

// Row returns a row of a generation with its values as text, nil where there is
// none.
func (s *Delta) Row(ctx context.Context, g projector.Generation, key string) (map[string]string, error) {
	name := s.rowKey(g, key)
	var row map[string]string
	err := redisx.Retry(ctx, func() (err error) {
		row, err = s.client.HGetAll(ctx, name).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redissink: reading key %s: %w", name, redisx.Explain(err))
	}
	if len(row) == 0 {
		return nil, nil
	}
	return row, nil
}

// addEffects adds what a stream does. A change without rows needs no rowKey.
func (c *call) addEffects(checkpoints string, ch *projector.Change, rowKey func(string) string) {
	c.n++
	c.keys = append(c.keys, checkpoints)
	c.args = append(c.args, ch.Key, field(ch.From), field(ch.To))
	var rows []*projector.Row
	if ch.Effects != nil {
		rows = ch.Effects.Rows()
	}
	c.args = append(c.args, len(rows))
	for _, r := range rows {
		c.keys = append(c.keys, rowKey(r.Key()))
		c.args = append(c.args, len(r.Cells()))
		c.bytes += commandBytes + len(r.Key())
		for _, cell := range r.Cells() {
			if cell.Set {
				value := cell.Value.String()
				c.args = append(c.args, "s", cell.Column, value)
				c.bytes += len(value)
			} else {
				c.args = append(c.args, "a", cell.Column, cell.Add)
			}
			c.bytes += commandBytes + len(cell.Column)
		}
	}
}

// field renders a checkpoint as the hash holds it, "" for none.
func field(c projector.Checkpoint) string {
	if c.IsZero() {
		return ""
	}
	position, event := checkpointArgs(c)
	return position + " " + event
}

// byPartition returns the places of changes in the order of their partitions, and
// within one in their own.
func byPartition(changes []projector.Change, partition func(*projector.Change) int) []int {
	order := make([]int, len(changes))
	partitions := make([]int, len(changes))
	for i := range changes {
		order[i], partitions[i] = i, partition(&changes[i])
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(partitions[a], partitions[b]) })
	return order
}

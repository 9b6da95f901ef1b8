package pgsink

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// Commit implements [projector.Sink]. Up to 1000 changes are made in one
// transaction: rows that many streams share are written once, and whoever reads sees
// a stream's effects all or not at all. Where that transaction fails for what a
// change does, its halves are tried, down to the one that fails alone.
func (s *Delta) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	c := deltaCommit{Delta: s, g: g, changes: changes}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("pgsink: committing to %s: %w", s.target(g), err)
	}
	var good []int
	for i := range changes {
		if err := s.check(&changes[i]); err != nil {
			c.refuse(i, err)
		} else {
			good = append(good, i)
		}
	}
	for part := range slices.Chunk(good, commitRows) {
		if err := c.commit(ctx, part); err != nil {
			return c.refused, fmt.Errorf("pgsink: committing %d streams to %s, among them %s: %w",
				len(part), s.target(g), changes[part[0]].Stream, explain(err))
		}
	}
	return c.refused, nil
}

// deltaCommit is a call of Commit.
type deltaCommit struct {
	*Delta
	g       projector.Generation
	changes []projector.Change
	refused []error
}

func (c *deltaCommit) refuse(i int, err error) {
	if c.refused == nil {
		c.refused = make([]error, len(c.changes))
	}
	if _, ok := err.(*projector.RefusedError); !ok {
		err = fmt.Errorf("pgsink: committing %s to %s: %w", c.changes[i].Stream, c.target(c.g), err)
	}
	c.refused[i] = err
}

// commit makes the changes at these places. An error is one of the server.
func (c *deltaCommit) commit(ctx context.Context, part []int) error {
	var refused map[int]*projector.RefusedError
	err := c.transact(ctx, func(tx pgx.Tx) (err error) {
		refused, err = c.apply(ctx, tx, part)
		return err
	})
	switch {
	case err == nil:
		for i, err := range refused {
			c.refuse(i, err)
		}
		return nil
	case ctx.Err() != nil || !ofChange(err):
		return err
	case len(part) == 1:
		c.refuse(part[0], err)
		return nil
	}
	half := len(part) / 2
	if err := c.commit(ctx, part[:half]); err != nil {
		return err
	}
	return c.commit(ctx, part[half:])
}

// apply moves checkpoints, and makes the effects of those streams whose checkpoint
// was the one their change starts from. It returns those that were somewhere else,
// except where they were at the target already.
func (c *deltaCommit) apply(ctx context.Context, tx pgx.Tx, part []int) (map[int]*projector.RefusedError, error) {
	stays, err := c.move(ctx, tx, part)
	if err != nil {
		return nil, err
	}
	sum := new(projector.Effects)
	for _, i := range part {
		if f := c.changes[i].Effects; f != nil && !stays[i] {
			if err := sum.Merge(f); err != nil {
				return nil, &changeError{fmt.Errorf("%w: %w", projector.ErrEffect, err)}
			}
		}
	}
	if err := c.upsert(ctx, tx, c.g, sum.Rows()); err != nil {
		return nil, err
	}
	for _, i := range part {
		if f := c.changes[i].Effects; f != nil && !stays[i] {
			for _, effect := range f.Attached() {
				if err := effect.(exec).run(ctx, tx); err != nil {
					return nil, fmt.Errorf("exec: %w", err)
				}
			}
		}
	}
	return c.judge(ctx, tx, stays)
}

const insertCheckpoints = `INSERT INTO %s (projection, stream, _major, _minor, _event)
	SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::uuid[])
	ON CONFLICT (stream) DO NOTHING RETURNING stream`

const updateCheckpoints = `UPDATE %s t SET _major = c.major, _minor = c.minor, _event = c.event
	FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bigint[], $7::uuid[])
		AS c(stream, from_major, from_minor, from_event, major, minor, event)
	WHERE t.stream = c.stream AND t._major = c.from_major AND t._minor = c.from_minor AND t._event = c.from_event
	RETURNING t.stream`

// move moves the checkpoints that are where their changes start, and returns the
// places of the others. It goes by the names of streams, so that two that move the
// same ones rarely lock each other out.
func (c *deltaCommit) move(ctx context.Context, tx pgx.Tx, part []int) (stays map[int]bool, err error) {
	byKey := slices.Clone(part)
	slices.SortFunc(byKey, func(i, j int) int { return strings.Compare(c.changes[i].Key, c.changes[j].Key) })
	stays = make(map[int]bool, len(part))
	at := make(map[string]int, len(part))
	var newKeys, keys []string
	var first, from, to checkpoints
	for _, i := range byKey {
		change := &c.changes[i]
		stays[i], at[change.Key] = true, i
		if change.From.IsZero() {
			newKeys = append(newKeys, change.Key)
			first.add(change.To)
		} else {
			keys = append(keys, change.Key)
			from.add(change.From)
			to.add(change.To)
		}
	}
	batch := new(pgx.Batch)
	if len(newKeys) > 0 {
		batch.Queue(fmt.Sprintf(insertCheckpoints, c.partition(c.g)), c.generation(c.g), newKeys, first.major, first.minor, first.event)
	}
	if len(keys) > 0 {
		batch.Queue(fmt.Sprintf(updateCheckpoints, c.partition(c.g)), keys, from.major, from.minor, from.event, to.major, to.minor, to.event)
	}
	moved, err := returned(ctx, tx, batch)
	for _, key := range moved {
		delete(stays, at[key])
	}
	return stays, err
}

// judge decides about changes whose checkpoint was not moved: where it is at the
// target the change was made by an earlier call, all others are refused.
func (c *deltaCommit) judge(ctx context.Context, tx pgx.Tx, stays map[int]bool) (map[int]*projector.RefusedError, error) {
	if len(stays) == 0 {
		return nil, nil
	}
	keys := make([]string, 0, len(stays))
	for i := range stays {
		keys = append(keys, c.changes[i].Key)
	}
	there, err := readCheckpoints(ctx, tx, c.checkpoints(c.g), keys)
	if err != nil {
		return nil, err
	}
	refused := make(map[int]*projector.RefusedError)
	for i := range stays {
		if change := &c.changes[i]; there[change.Key] != change.To {
			refused[i] = &projector.RefusedError{Stream: change.Stream, From: change.From, Actual: there[change.Key]}
		}
	}
	return refused, nil
}

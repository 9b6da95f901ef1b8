package pgsink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// Commit implements [projector.Sink]. Up to 1000 changes are made in one
// transaction: rows that many streams share are written once, and whoever reads sees
// a stream's effects all or not at all. Where that transaction fails for what a
// change does, its halves are tried, down to the one that fails alone; one whose
// [Exec] fails is known at once.
func (s *Delta) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	c := deltaCommit{Delta: s, g: g, commit: commit{verb: "committing", into: s.target(g), changes: changes}}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("pgsink: committing to %s: %w", c.into, err)
	}
	var good []int
	for i := range changes {
		if err := s.check(&changes[i]); err != nil {
			c.refuse(i, err)
		} else {
			good = append(good, i)
		}
	}
	return c.make(ctx, good, "streams", c.write)
}

// deltaCommit is a call of Commit.
type deltaCommit struct {
	*Delta
	commit
	g projector.Generation
}

// write makes changes in one transaction, and refuses those that start from another
// checkpoint than the one that is there.
func (c *deltaCommit) write(ctx context.Context, part []int) error {
	var refused map[int]error
	err := c.transact(ctx, func(tx pgx.Tx) (err error) {
		refused, err = c.apply(ctx, tx, part)
		return err
	})
	if err != nil {
		return err
	}
	for i, err := range refused {
		c.refuse(i, err)
	}
	return nil
}

// apply moves checkpoints, and makes the effects of those streams whose checkpoint
// was the one their change starts from. It returns those that were somewhere else,
// except where they were at the target already.
func (c *deltaCommit) apply(ctx context.Context, tx pgx.Tx, part []int) (map[int]error, error) {
	stays, err := c.move(ctx, tx, part)
	if err != nil {
		return nil, err
	}
	moved := slices.DeleteFunc(slices.Clone(part), func(i int) bool { return stays[i] })
	rows, err := c.merge(moved)
	if err != nil {
		// Each may be fine, and only the sum too large.
		return nil, &changeError{fmt.Errorf("%w: %w", projector.ErrEffect, err), unknown}
	}
	if err := c.upsert(ctx, tx, c.g, rows); err != nil {
		return nil, err
	}
	for _, i := range moved {
		if err := c.call(ctx, tx, i); err != nil {
			return nil, err
		}
	}
	return c.judge(ctx, tx, c.checkpoints(c.g), maps.Keys(stays))
}

// merge adds up what changes do to rows.
func (c *commit) merge(part []int) ([]*projector.Row, error) {
	sum := new(projector.Effects)
	for _, i := range part {
		if f := c.changes[i].Effects; f != nil {
			if err := sum.Merge(f); err != nil {
				return nil, err
			}
		}
	}
	return sum.Rows(), nil
}

// call calls the functions among the effects of a change.
func (c *commit) call(ctx context.Context, tx pgx.Tx, i int) error {
	change := &c.changes[i]
	if change.Effects == nil {
		return nil
	}
	all := change.Effects.Attached()
	for n, effect := range all {
		if err := effect.(exec).run(ctx, tx, change.Deadline); err != nil {
			err = fmt.Errorf("exec %d of %d: %w", n+1, len(all), err)
			if ofChange(err) {
				err = &changeError{err, i}
			}
			return err
		}
	}
	return nil
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

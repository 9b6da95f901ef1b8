package pgsink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/projectord/projectord/projector"
)

// commit is a call of Commit or Load. Changes are named by their places.
type commit struct {
	verb    string // what errors call the doing
	into    string // what errors call the place they go to
	changes []projector.Change
	refused []error // as Commit returns it
}

func (c *commit) refuse(i int, err error) {
	if c.refused == nil {
		c.refused = make([]error, len(c.changes))
	}
	if _, ok := err.(*projector.RefusedError); !ok {
		err = fmt.Errorf("pgsink: %s %s to %s: %w", c.verb, c.changes[i].Stream, c.into, err)
	}
	c.refused[i] = err
}

// make makes changes, some at a time, by write. It returns what Commit does.
func (c *commit) make(ctx context.Context, all []int, what string, write func(context.Context, []int) error) ([]error, error) {
	for part := range c.parts(all) {
		err := c.halve(ctx, part, func(part []int) error { return write(ctx, part) })
		if err != nil {
			return c.refused, fmt.Errorf("pgsink: committing %d %s to %s, among them %s: %w",
				len(part), what, c.into, c.changes[part[0]].Stream, explain(err))
		}
	}
	return c.refused, nil
}

// parts divides changes into those that go together.
func (c *commit) parts(all []int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		for len(all) > 0 {
			n, bytes := 0, 0
			for n < len(all) && n < commitRows {
				if bytes += size(&c.changes[all[n]]); n > 0 && bytes > commitBytes {
					break
				}
				n++
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}

// valueBytes is what a value that is no text takes, and what comes with any.
const valueBytes = 24

// size returns about how many bytes a change has.
func size(c *projector.Change) int {
	n := len(c.Key) + valueBytes
	if c.Document != nil {
		for _, f := range c.Document.Fields() {
			n += len(f.Name) + textBytes(f.Value)
		}
	}
	if c.Effects != nil {
		for _, row := range c.Effects.Rows() {
			n += len(row.Key())
			for _, cell := range row.Cells() {
				n += textBytes(cell.Value)
			}
		}
	}
	return n
}

func textBytes(v projector.Value) int {
	if v.Kind() == projector.String {
		return valueBytes + len(v.String())
	}
	return valueBytes
}

// halve has write make changes, all or none of those it is given. Where it fails for
// what one of them does, that one is refused and the others are made: halves are
// tried, down to the one that fails alone. One that the error names is never tried
// again, because it may take its whole deadline; the others are halved all the same,
// as many more may be like it. An error that is returned is one of the server.
func (c *commit) halve(ctx context.Context, part []int, write func(part []int) error) error {
	if len(part) == 0 {
		return nil
	}
	err := write(part)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || !ofChange(err) {
		return err
	}
	at := unknown
	if one := new(changeError); errors.As(err, &one) {
		at = one.at
	}
	if len(part) == 1 {
		at = part[0]
	}
	if at != unknown {
		c.refuse(at, err)
		part = slices.DeleteFunc(slices.Clone(part), func(i int) bool { return i == at })
	}
	half := len(part) / 2
	if err := c.halve(ctx, part[:half], write); err != nil {
		return err
	}
	return c.halve(ctx, part[half:], write)
}

// judge decides about changes whose checkpoint was not moved: where it is at the
// target the change was made by an earlier call, all others are refused.
func (c *commit) judge(ctx context.Context, q querier, from place, stays iter.Seq[int]) (map[int]error, error) {
	var keys []string
	for i := range stays {
		keys = append(keys, c.changes[i].Key)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	there, err := readCheckpoints(ctx, q, from, keys)
	if err != nil {
		return nil, err
	}
	refused := make(map[int]error)
	for i := range stays {
		if change := &c.changes[i]; there[change.Key] != change.To {
			refused[i] = &projector.RefusedError{Stream: change.Stream, From: change.From, Actual: there[change.Key]}
		}
	}
	return refused, nil
}

package snapshots

import (
	"context"
	"fmt"
	"iter"
)

// CheckConfig says what [Check] does with what it finds.
type CheckConfig struct {
	// Drop has snapshots deleted that are not what the events add up to. That is
	// harmless: states are folded from the beginning until there is another.
	Drop bool
	// Found, where not nil, is called with every snapshot that something is wrong with.
	Found func(Verified)
	// Progress, where not nil, is called after every snapshot.
	Progress func(Checked)
}

// Checked says what [Check] found.
type Checked struct {
	// Snapshots were looked at. Good ones are what the events add up to. Outdated ones
	// are of another fold or schema, and ignored until they are replaced.
	// Unproven ones cannot be compared with events that were removed, and stay.
	Snapshots, Good, Outdated, Unproven int
	// Bad ones are Wrong, Ahead, Forked, Misfit or Corrupt, and Dropped is how many of
	// those were deleted.
	Bad, Dropped int
}

// Check goes through what [States.Verify] yields of definitions whose snapshots are in
// one store: of projections and of aggregates. The error is of a backend or of the
// context, and what was found until then is returned.
func Check(ctx context.Context, store Store, config CheckConfig, definitions ...iter.Seq2[Verified, error]) (c Checked, err error) {
	for _, verified := range definitions {
		for v, err := range verified {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return c, err
			}
			if err := c.take(ctx, store, config, v); err != nil {
				return c, err
			}
			if config.Progress != nil {
				config.Progress(c)
			}
		}
	}
	return c, nil
}

func (c *Checked) take(ctx context.Context, store Store, config CheckConfig, v Verified) error {
	c.Snapshots++
	switch v.Outcome {
	case Used:
		c.Good++
		return nil
	case OtherFold, OtherSchema:
		c.Outdated++
		return nil
	case Unproven:
		c.Unproven++
		return nil
	}
	c.Bad++
	if config.Found != nil {
		config.Found(v)
	}
	if !config.Drop {
		return nil
	}
	if err := store.Delete(ctx, []Key{v.Key}); err != nil {
		return fmt.Errorf("dropping the snapshot of %s: %w", v.Key, err)
	}
	c.Dropped++
	return nil
}

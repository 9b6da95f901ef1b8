package generations

import (
	"context"
	"fmt"
	"time"
)

// Start returns the generations of a projection, of which there is at least the
// active one: where it never ran that is generation 1, of this version of the code,
// which is filled like any that is kept up to date, and seen meanwhile.
func (r *Registry) Start(ctx context.Context, projection string, version int) (p Projection, err error) {
	err = r.change(ctx, projection, func(was Projection) (update, error) {
		p = was
		var u update
		if p.Active == 0 {
			p.Active, u.active = 1, 1
		}
		if _, ok := p.Of(p.Active); !ok {
			record := Record{Projection: projection, Generation: p.Active, Version: version, State: Built, Began: now(), Changed: now()}
			p.Records, u.added = append(p.Records, record), &record
		}
		return u, nil
	})
	return p, err
}

// Add adds a generation of this version, to be built. Where one of that version is not
// built yet, it is that one and nothing is added.
func (r *Registry) Add(ctx context.Context, projection string, version int, o Options) (added Record, err error) {
	if err := o.check(); err != nil {
		return Record{}, fmt.Errorf("projection %s: %w", projection, err)
	}
	err = r.change(ctx, projection, func(p Projection) (update, error) {
		if p.Active == 0 || len(p.Records) == 0 {
			return update{}, ErrNotStarted
		}
		for _, record := range p.Records {
			if record.Version == version && record.State != Built && record.State != Retiring {
				added = record
				return update{}, nil
			}
		}
		next := max(p.last, p.Active) + 1
		added = Record{Projection: projection, Generation: next, Version: version, State: Building, Began: now(), Changed: now(), Options: o}
		return update{added: &added}, nil
	})
	return added, err
}

// Set gives a generation another state, if it is in one of those; being in the new one
// already is fine too.
func (r *Registry) Set(ctx context.Context, projection string, g Generation, to State, reason string, from ...State) error {
	return r.change(ctx, projection, func(p Projection) (update, error) {
		record, ok := p.Of(g)
		if !ok {
			return update{}, fmt.Errorf("%w: %d", ErrUnknown, g)
		}
		if record.State == to {
			return update{}, nil
		}
		for _, state := range from {
			if record.State == state {
				record.State, record.Reason, record.Changed = to, reason, now()
				return update{record: &record}, nil
			}
		}
		return update{}, fmt.Errorf("generation %d is %s: %w: to be %s", g, record.State, ErrState, to)
	})
}

// SetOptions gives other options to a generation that is not built yet, whatever else its
// state is, and returns its record. Workers that build it go on by them within seconds.
func (r *Registry) SetOptions(ctx context.Context, projection string, g Generation, o Options) (changed Record, err error) {
	if err := o.check(); err != nil {
		return Record{}, fmt.Errorf("projection %s: %w", projection, err)
	}
	err = r.change(ctx, projection, func(p Projection) (update, error) {
		record, ok := p.Of(g)
		switch {
		case !ok:
			return update{}, fmt.Errorf("%w: %d", ErrUnknown, g)
		case record.State == Built || record.State == Retiring:
			return update{}, fmt.Errorf("generation %d is %s: %w: to be built with other options", g, record.State, ErrState)
		}
		record.Options = o
		changed = record
		return update{record: &record}, nil
	})
	return changed, err
}

// Promote makes a generation the one that readers see, and returns the one they saw.
// It has to be built.
func (r *Registry) Promote(ctx context.Context, projection string, g Generation) (was Generation, err error) {
	err = r.change(ctx, projection, func(p Projection) (update, error) {
		record, ok := p.Of(g)
		switch {
		case !ok:
			return update{}, fmt.Errorf("%w: %d", ErrUnknown, g)
		case record.State != Built:
			return update{}, fmt.Errorf("generation %d is %s: %w: to be seen", g, record.State, ErrState)
		}
		was = p.Active
		u := update{active: g}
		if old, ok := p.Of(was); ok && was != g {
			old.Left = now()
			u.record = &old
		}
		return u, nil
	})
	return was, err
}

// Retire has workers leave a generation alone that readers do not see, and returns since
// when they do.
func (r *Registry) Retire(ctx context.Context, projection string, g Generation) (since time.Time, err error) {
	err = r.change(ctx, projection, func(p Projection) (update, error) {
		record, ok := p.Of(g)
		switch {
		case p.Active == g:
			return update{}, fmt.Errorf("generation %d is the one readers see: %w: to be retired", g, ErrState)
		case !ok:
			return update{}, fmt.Errorf("%w: %d", ErrUnknown, g)
		}
		if record.State != Retiring {
			record.State, record.Changed = Retiring, now()
		}
		since = record.Changed
		return update{record: &record}, nil
	})
	return since, err
}

// Remove forgets a generation that is being retired. What it consists of is the
// caller's to delete, before.
func (r *Registry) Remove(ctx context.Context, projection string, g Generation) error {
	return r.change(ctx, projection, func(p Projection) (update, error) {
		if record, ok := p.Of(g); ok && record.State != Retiring {
			return update{}, fmt.Errorf("generation %d is %s: %w: to be removed", g, record.State, ErrState)
		}
		return update{removed: g}, nil
	})
}

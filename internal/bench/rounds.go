package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// So many rounds are counted: as many as fit into the time that a run may take, but no
	// more, and no fewer, than these.
	fewestRounds, mostRounds = 3, 7
	roundsWithin             = 5 * time.Minute
	// pingWithin is how long a server may take to show that it is still there.
	pingWithin = 2 * time.Second
)

// EndedError says that a run was ended before all was measured.
type EndedError struct {
	// Rounds is how many rounds were complete.
	Rounds int
	err    error
}

// Error implements error.
func (e *EndedError) Error() string {
	return "it was ended after " + plural(e.Rounds, "complete round")
}

// Unwrap returns the error of the context.
func (e *EndedError) Unwrap() error { return e.err }

// run is the measuring of some rows.
type run struct {
	lab     *lab
	rows    []*row
	order   []*measure
	taken   map[*measure]*taken
	counted int // complete rounds
	ended   bool
}

// taken is what a measure gave so far.
type taken struct {
	samples []sample // one for each round
	took    time.Duration
	err     error // why it is not measured any more
}

func newRun(l *lab, rows []*row) *run {
	r := &run{lab: l, rows: rows, order: ordered(rows), taken: make(map[*measure]*taken)}
	for _, m := range r.order {
		r.taken[m] = new(taken)
	}
	return r
}

// ordered returns the measures of rows, each once, and those that are held against one
// limit next to it.
func ordered(rows []*row) []*measure {
	var groups [][]*measure
	in := make(map[*measure]int) // group by measure
	add := func(group int, m *measure) {
		if _, there := in[m]; !there {
			groups[group] = append(groups[group], m)
			in[m] = group
		}
	}
	for _, r := range rows {
		first := r.limit.of
		if first == nil {
			first = r.of.of
		}
		group, there := in[first]
		if !there {
			group, groups = len(groups), append(groups, nil)
		}
		add(group, first)
		add(group, r.of.of)
	}
	return slices.Concat(groups...)
}

// rounds measures everything in rounds.
func (r *run) rounds(ctx context.Context) error {
	// What takes long is measured once, at the end: it may fill the server.
	var often, once []*measure
	for _, m := range r.order {
		if m.once {
			once = append(once, m)
		} else {
			often = append(often, m)
		}
	}
	rounds := 0
	if len(often) > 0 {
		begin := time.Now()
		if err := r.round(ctx, often, Progress{}); err != nil {
			return err
		}
		rounds = min(max(int(roundsWithin/max(time.Since(begin), 1)), fewestRounds), mostRounds)
		for _, t := range r.taken {
			t.samples = nil
		}
	}
	for n := 1; n <= rounds; n++ {
		if err := r.round(ctx, often, Progress{Round: n, Rounds: rounds}); err != nil {
			return err
		}
		r.counted = n
		slices.Reverse(often)
	}
	return r.round(ctx, once, Progress{Round: rounds, Rounds: rounds})
}

// round takes each measure once.
func (r *run) round(ctx context.Context, measures []*measure, at Progress) error {
	for i, m := range measures {
		t := r.taken[m]
		if t.err != nil {
			continue
		}
		at.Measure, at.N, at.Of = m.name, i+1, len(measures)
		if r.lab.Progress != nil {
			at.Left = r.left(measures, i, at)
			r.lab.Progress(at)
		}
		begin := time.Now()
		s, err := m.run(ctx, r.lab)
		t.took = time.Since(begin)
		switch {
		case err == nil:
			t.samples = append(t.samples, s)
		case ctx.Err() != nil:
			r.ended = true
			return &EndedError{r.counted, ctx.Err()}
		default:
			t.err = fmt.Errorf("%s: %w", m.name, err)
			if gone := r.gone(ctx); gone != nil {
				r.ended = true
				return errors.Join(t.err, gone)
			}
		}
	}
	return nil
}

// gone says that Redis does not answer any more, in which case no row can be measured.
func (r *run) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	if err := r.lab.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis at %s: %w", shown(r.lab.redisURL), err)
	}
	return nil
}

// left estimates how long the rest of the rounds takes, from how long each measure took
// the last time.
func (r *run) left(measures []*measure, next int, at Progress) (left time.Duration) {
	if at.Round == 0 {
		return 0
	}
	for i, m := range measures {
		took := r.taken[m].took
		if r.taken[m].err != nil {
			continue
		}
		if i >= next {
			left += took
		}
		left += took * time.Duration(at.Rounds-at.Round)
	}
	return left
}

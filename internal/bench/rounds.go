package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// So many rounds are counted: as many as fit into the time that all of them may take,
	// with the one to warm up, but no more, and no fewer, than these.
	fewestRounds, mostRounds = 2, 7
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
	rows = repeated(rows)
	r := &run{lab: l, rows: rows, order: ordered(rows), taken: make(map[*measure]*taken)}
	for _, m := range r.order {
		r.taken[m] = new(taken)
	}
	return r
}

// besideLimit is how many measures a limit stands between.
const besideLimit = 2

// repeated returns the rows with limits that are taken again for every two measures that
// are held against them, so that each has its limit right before or after it. What is
// taken once, or is a row itself, is not repeated.
func repeated(rows []*row) []*row {
	own := make(map[*measure]bool)
	for _, r := range rows {
		own[r.of.of] = true
	}
	held := make(map[*measure][]*measure)   // by limit
	copies := make(map[*measure][]*measure) // of limits
	all := make([]*row, len(rows))
	for i, r := range rows {
		next := *r
		all[i] = &next
		limit := r.limit.of
		if limit == nil || limit.once || own[limit] {
			continue
		}
		place := slices.Index(held[limit], r.of.of)
		if place < 0 {
			place, held[limit] = len(held[limit]), append(held[limit], r.of.of)
		}
		if place/besideLimit == len(copies[limit]) {
			again := *limit
			copies[limit] = append(copies[limit], &again)
		}
		next.limit.of = copies[limit][place/besideLimit]
	}
	return all
}

// ordered returns the measures of rows, each once, and each beside what it is held against
// as far as there is room: a measure has two sides.
func ordered(rows []*row) []*measure {
	var groups [][]*measure
	in := make(map[*measure]int) // group by measure
	start := func(m *measure) {
		in[m], groups = len(groups), append(groups, []*measure{m})
	}
	beside := func(there, m *measure) {
		group := in[there]
		place := slices.Index(groups[group], there)
		if place > 0 || len(groups[group]) == 1 {
			place++ // else it is the first, and has room before it
		}
		in[m], groups[group] = group, slices.Insert(groups[group], place, m)
	}
	for _, r := range rows {
		of, limit := r.of.of, r.limit.of
		_, placed := in[of]
		if limit != nil {
			switch _, there := in[limit]; {
			case there && !placed:
				beside(limit, of)
				placed = true
			case !there && placed:
				beside(of, limit)
			case !there:
				start(limit)
				if limit != of {
					beside(limit, of)
				}
				placed = true
			}
		}
		if !placed {
			start(of)
		}
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
		deadline := time.Now().Add(roundsWithin)
		begin := time.Now()
		if err := r.round(ctx, often, Progress{}); err != nil {
			return err
		}
		for _, t := range r.taken {
			t.samples = nil
		}
		for {
			rounds = fitting(r.counted, time.Since(begin), time.Until(deadline))
			if rounds == r.counted {
				break
			}
			begin = time.Now()
			if err := r.round(ctx, often, Progress{Round: r.counted + 1, Rounds: rounds}); err != nil {
				return err
			}
			r.counted++
			slices.Reverse(often)
		}
	}
	return r.round(ctx, once, Progress{Round: rounds, Rounds: rounds})
}

// fitting returns how many rounds there are with those that fit into what is left of the
// time, if they take as long as the last one.
func fitting(counted int, last, left time.Duration) int {
	more := max(0, int(left/max(last, 1)))
	return min(max(counted+more, fewestRounds), mostRounds)
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

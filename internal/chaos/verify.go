package chaos

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

// stored returns all events, by stream.
func (r *run) stored(ctx context.Context) ([][]eventstore.Recorded, error) {
	all := make([][]eventstore.Recorded, r.config.Streams)
	for i := range all {
		for e, err := range r.store.Read(ctx, stream(i), eventstore.Range{}) {
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], e)
		}
	}
	return all, nil
}

// behind returns an error unless every stream is at its head in every projection,
// or is parked.
func (r *run) behind(ctx context.Context, heads []int) error {
	for _, a := range r.assigned {
		keys := make([]string, len(heads))
		for i := range keys {
			keys[i] = stream(i).String()
			if a.Projection.Form() == projector.Documents {
				keys[i] = stream(i).ID()
			}
		}
		at, _, err := a.Sink.Checkpoints(ctx, 1, keys)
		if err != nil {
			return err
		}
		left, first := 0, ""
		for i, c := range at {
			if c.Position.Major != uint64(heads[i]) && !r.fleet.isParked(a.Group(), stream(i).String()) {
				left++
				first = fmt.Sprintf("%s is at %s of %d", stream(i), c, heads[i])
			}
		}
		if left > 0 {
			return fmt.Errorf("%s: %d streams are behind: %s", a.Group(), left, first)
		}
	}
	return nil
}

// audit has every projection audited. Nothing may be wrong, but that after a truncation
// streams may be regressed or forked, and parked for it.
func (r *run) audit(ctx context.Context, truncated bool) error {
	for _, a := range r.assigned {
		var found []string
		report, err := projector.Audit(ctx, projector.AuditConfig{
			Store: r.store, Log: r.log, Assignment: a, Deep: true,
			Found: func(e *projector.StreamError) { found = append(found, e.Error()) },
		})
		if err != nil {
			return err
		}
		if truncated {
			report.Regressed, report.Forked, report.Parked, report.Behind = 0, 0, 0, 0
		}
		if report.Wrong() > 0 || report.Parked > 0 || report.Behind > 0 || report.Streams == 0 {
			r.problem("the audit of %s says %+v: %s", a.Group(), report, strings.Join(found, "; "))
		}
	}
	return nil
}

// records reads a table of records in their order, by stream.
func (r *run) records(ctx context.Context, table string) ([][]record, error) {
	all := make([][]record, r.config.Streams)
	rows, err := r.pool.Query(ctx, "SELECT stream, version, event FROM "+table+" ORDER BY place")
	if err != nil {
		return nil, err
	}
	var rec record
	_, err = pgx.ForEachRow(rows, []any{&rec.stream, &rec.version, &rec.event}, func() error {
		i, err := strconv.Atoi(strings.TrimPrefix(rec.stream, category+"-"))
		if err != nil || i >= len(all) {
			return fmt.Errorf("chaos: a record of stream %s", rec.stream)
		}
		all[i] = append(all[i], rec)
		return nil
	})
	return all, err
}

// verify compares everything with the events, after all streams got to their heads.
func (r *run) verify(ctx context.Context) error {
	stored, err := r.stored(ctx)
	if err != nil {
		return err
	}
	for i, events := range stored {
		appended := r.ledger.streams[i]
		r.result.Lost += max(0, len(appended)-len(events))
		for v, e := range events {
			if v >= len(appended) || e.ID != appended[v] || int(e.Version) != v+1 {
				r.result.Lost++
				r.problem("%s is not the event that was appended there", e.String())
			}
		}
	}
	if err := r.verifyEffects(ctx, stored); err != nil {
		return err
	}
	if r.config.Naive {
		return r.verifyForced(ctx, stored)
	}
	for _, check := range []func(context.Context, [][]eventstore.Recorded) error{r.verifySums, r.verifyChains, r.verifyCalls} {
		if err := check(ctx, stored); err != nil {
			return err
		}
	}
	return nil
}

// verifyEffects looks at the record of each event.
func (r *run) verifyEffects(ctx context.Context, stored [][]eventstore.Recorded) error {
	all, err := r.records(ctx, effectsName)
	if err != nil {
		return err
	}
	for i, records := range all {
		seen := make(map[int64]bool)
		newest := int64(0)
		for _, rec := range records {
			switch {
			case seen[rec.version]:
				r.result.Doubled++
				r.unlessNaive("%s@%d took effect twice", rec.stream, rec.version)
			case rec.version > int64(len(stored[i])) || rec.event != stored[i][rec.version-1].ID:
				r.problem("%s@%d: event %s took effect, which is not there", rec.stream, rec.version, rec.event)
			case rec.version < newest:
				r.result.Reordered++
				r.unlessNaive("%s@%d took effect behind version %d", rec.stream, rec.version, newest)
			}
			seen[rec.version] = true
			newest = max(newest, rec.version)
		}
		for _, e := range stored[i] {
			if !seen[int64(e.Version)] {
				r.result.Lost++
				r.unlessNaive("%s took no effect", e.String())
			}
		}
	}
	return nil
}

// verifySums looks at the counts.
func (r *run) verifySums(ctx context.Context, stored [][]eventstore.Recorded) error {
	for _, a := range r.assigned {
		s, ok := a.Sink.(interface {
			Row(ctx context.Context, g projector.Generation, key string) (map[string]string, error)
		})
		if ok && a.Projection.Name() != callsName {
			if err := r.verifySum(ctx, stored, a.Group(), s.Row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) verifySum(ctx context.Context, stored [][]eventstore.Recorded, group string, row func(context.Context, projector.Generation, string) (map[string]string, error)) error {
	type sum struct{ events, n int64 }
	sums := make(map[string]sum)
	for _, events := range stored {
		for _, e := range events {
			s := sums[bucket(e.ID)]
			sums[bucket(e.ID)] = sum{s.events + 1, s.n + notedBy(e.ID).N}
		}
	}
	for b, s := range sums {
		want := map[string]string{eventsColumn: fmt.Sprint(s.events), sumColumn: fmt.Sprint(s.n)}
		got, err := row(ctx, 1, b)
		if err != nil {
			return err
		}
		if !maps.Equal(got, want) {
			r.problem("row %s of %s is %v; want %v", b, group, got, want)
		}
	}
	return nil
}

// verifyForced looks how often events were counted in Redis that were counted before.
func (r *run) verifyForced(ctx context.Context, stored [][]eventstore.Recorded) error {
	counted, err := countSink(r.store.Namespace(), r.client)
	if err != nil {
		return err
	}
	rows := make(map[string]bool)
	for _, events := range stored {
		for _, e := range events {
			rows[bucket(e.ID)] = true
			r.result.Forced--
		}
	}
	for b := range rows {
		row, err := counted.Row(ctx, 1, b)
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(row[eventsColumn])
		r.result.Forced += n
	}
	return nil
}

// verifyChains looks at the documents.
func (r *run) verifyChains(ctx context.Context, stored [][]eventstore.Recorded) error {
	for _, a := range r.assigned {
		s, ok := a.Sink.(*redissink.Sink)
		if !ok {
			continue
		}
		for i, events := range stored {
			if len(events) == 0 || r.fleet.isParked(a.Group(), stream(i).String()) {
				continue
			}
			var want chained
			for _, e := range events {
				want.add(e.ID, notedBy(e.ID).N)
			}
			got, _, err := s.Document(ctx, 1, stream(i).ID())
			if err != nil {
				return err
			}
			if !maps.Equal(got, want.document()) {
				r.problem("the chain of %s is %v; want %v", stream(i), got, want.document())
			}
		}
	}
	return nil
}

// verifyCalls looks at what the reactor did: everything, each event for the first
// time after those before it.
func (r *run) verifyCalls(ctx context.Context, stored [][]eventstore.Recorded) error {
	all, err := r.records(ctx, callsName)
	if err != nil {
		return err
	}
	for i, events := range stored {
		if r.fleet.isParked(callsName+"@1", stream(i).String()) {
			continue
		}
		first := make(map[uuid.UUID]int64)
		next := int64(1)
		for _, rec := range all[i] {
			if _, repeated := first[rec.event]; repeated {
				continue
			}
			first[rec.event] = rec.version
			if rec.version != next {
				r.result.Reordered++
				r.problem("%s@%d was handled where version %d was due", rec.stream, rec.version, next)
			}
			next = rec.version + 1
		}
		for _, e := range events {
			if _, ok := first[e.ID]; !ok {
				r.result.Lost++
				r.problem("%s was not handled", e.String())
			}
		}
	}
	return nil
}

// verifyTruncated looks at the effects after Redis lost events: what had taken effect
// stands, nothing happened twice, and streams with effects of events that are gone
// are halted for that reason.
func (r *run) verifyTruncated(ctx context.Context) error {
	stored, err := r.stored(ctx)
	if err != nil {
		return err
	}
	group := effectsName + "@1"
	all, err := r.records(ctx, effectsName)
	if err != nil {
		return err
	}
	for i, records := range all {
		changed := false
		for k, rec := range records {
			if rec.version != int64(k+1) {
				r.problem("after the truncation: %s@%d took effect where version %d was due", rec.stream, rec.version, k+1)
			}
			changed = changed || rec.version > int64(len(stored[i])) || rec.event != stored[i][rec.version-1].ID
		}
		// A worker that had heard of events may miss them before it applied any.
		switch halted := r.fleet.isParked(group, stream(i).String()); {
		case changed && !halted:
			r.problem("after the truncation: %s has effects of lost events, and is not parked", stream(i))
		case halted && !r.ledger.shrunk[i]:
			r.problem("after the truncation: %s lost nothing, and is parked", stream(i))
		case !halted && len(records) != len(stored[i]):
			r.problem("after the truncation: %s has %d events, %d took effect", stream(i), len(stored[i]), len(records))
		}
	}
	for name, why := range r.fleet.allParked() {
		if !strings.Contains(why, projector.ErrRegressed.Error()) && !strings.Contains(why, projector.ErrForked.Error()) {
			r.problem("after the truncation: %s is parked: %s", name, why)
		}
		r.result.Halted++
	}
	if err := r.verifyChains(ctx, stored); err != nil {
		return err
	}
	return r.audit(ctx, true)
}

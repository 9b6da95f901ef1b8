package projector_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

// newShares returns a delta projection, by code of a version, with a row for each
// quantity that carts share, and values that one or several of them set.
func newShares(version int, add func(qty int64) int64) *projector.Delta {
	p := projector.NewDelta("shares", projector.DeltaConfig{Version: version, Categories: []string{"cart"}, Events: registry()})
	projector.OnDelta(p, func(f *projector.Effects, e added, r *eventstore.Recorded) {
		row := f.Row(fmt.Sprint("q", e.Qty))
		row.Add("n", add(e.Qty))
		row.SetString("last", r.Stream.ID())
		row.Add("nothing", 0)
		f.Row("own "+r.Stream.ID()).SetInt("version", int64(r.Version))
		f.Row("own "+r.Stream.ID()).SetBool("odd", e.Qty%2 == 1)
	})
	return p
}

func one(int64) int64 { return 1 }

// shares is a fixture whose projection makes effects, kept in Redis.
type shares struct {
	*fixture
	rows *redissink.Delta
}

func onSingles(t *testing.T, test func(*shares)) {
	for _, kind := range []string{"Embedded", "Redis"} {
		t.Run(kind, func(t *testing.T) {
			f := newFixture(t, testenv.Kinds[kind](t))
			rows, err := redissink.NewDelta(f.client, redissink.DeltaConfig{
				CheckpointsConfig: redissink.CheckpointsConfig{Namespace: f.store.Namespace(), Partitions: f.store.Partitions(), Projection: "shares"},
				Model:             "shares",
			})
			if err != nil {
				t.Fatal(err)
			}
			test(&shares{f, rows})
		})
	}
}

func (f *shares) build(p projector.Projection, g projector.Generation) {
	f.Helper()
	if _, err := projector.CatchUp(f.Context(), f.store, p, f.rows, projector.CatchUpConfig{Generation: g}); err != nil {
		f.Fatal(err)
	}
}

// key returns where a row of generation 1 is.
func (f *shares) key(row string) string { return f.store.Namespace() + ":shares:" + row }

func (f *shares) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// verify wants exactly these rows to differ.
func (f *shares) verify(c projector.VerifyConfig, want ...string) (projector.VerifyReport, []projector.Difference) {
	f.Helper()
	var found []projector.Difference
	var rows []string
	c.Sink = f.rows
	c.Found = func(d projector.Difference) {
		found, rows = append(found, d), append(rows, d.Row)
		if d.Document != nil && d.Other != nil && maps.Equal(d.Document, d.Other) || d.Stream != (eventstore.StreamID{}) {
			f.Errorf("the difference is %+v", d)
		}
	}
	report, err := f.operator().Verify(f.Context(), c)
	if err != nil || !slices.Equal(rows, want) || report.Different != len(want) {
		f.Errorf("found %v, %+v, %v; want %v", rows, report, err, want)
	}
	return report, found
}

// Rows that are not what the events of all streams come to are listed, and no others:
// with another count, with another value, gone, and made up.
func TestVerifyEffects(t *testing.T) {
	onSingles(t, func(f *shares) {
		for i := range 300 {
			f.append(cart(i), int64(i%10), int64(i%7), 1000)
		}
		p := newShares(1, one)
		f.build(p, 1)
		right := projector.VerifyConfig{Assignment: projector.Assignment{Projection: p}}
		report, _ := f.verify(right)
		if report.Streams != 300 || report.Compared != 300 || report.Events != 900 || report.Rows != 311 || report.Undefined != 0 {
			f.Errorf("the report is %+v", report)
		}
		f.append(cart(3), 5) // not applied: what it does is not to be there
		f.append(cart(1000), 5)
		f.verify(right)

		ctx := f.Context()
		f.must(f.client.HIncrBy(ctx, f.key("q5"), "n", 1).Err())
		f.must(f.client.HSet(ctx, f.key("q1000"), "last", "nobody").Err())
		f.must(f.client.HSet(ctx, f.key("own 17"), "odd", "maybe").Err())
		f.must(f.client.HSet(ctx, f.key("own 18"), "more", "0").Err()) // like a count never added to
		f.must(f.client.HSet(ctx, f.key("own 19"), "last", "0").Err())
		f.must(f.client.HDel(ctx, f.key("q4"), "nothing").Err()) // the same
		f.must(f.client.Del(ctx, f.key("own 42")).Err())
		f.must(f.client.HSet(ctx, f.key("made up"), "n", "0").Err())
		_, found := f.verify(right, "made up", "own 17", "own 19", "own 42", "q1000", "q5")
		text := fmt.Sprint(found)
		for _, says := range []string{"n:74", "n:73", "odd:maybe", "odd:false", "last:nobody", "0 or 1 or 10 or …", "version:3"} {
			if !strings.Contains(text, says) {
				f.Errorf("the differences are %s; want %s", text, says)
			}
		}
	})
}

// Code that is wrong is found in a generation of its own: the rows it makes otherwise
// are listed, and no others.
func TestVerifyEffectsOfVersions(t *testing.T) {
	t.Parallel()
	onSingles(t, func(f *shares) {
		for i := range 100 {
			f.append(cart(i), int64(i%10), 20)
		}
		right := newShares(1, one)
		wrong := newShares(2, func(qty int64) int64 {
			if qty == 3 || qty == 8 {
				return 2
			}
			return 1
		})
		f.build(right, 1)
		f.build(wrong, 2)
		of := func(p projector.Projection, g, with projector.Generation) projector.VerifyConfig {
			return projector.VerifyConfig{Assignment: projector.Assignment{Projection: p, Generation: g}, With: with}
		}
		f.verify(of(right, 1, 0))
		f.verify(of(wrong, 2, 0))
		f.verify(of(right, 2, 0), "q3", "q8")
		f.verify(of(wrong, 1, 0), "q3", "q8")
		// Which cart set the value of a row last may be another one.
		var n []string
		c := of(wrong, 2, 1)
		c.Sink = f.rows
		c.Found = func(d projector.Difference) {
			if d.Document["n"] != d.Other["n"] {
				n = append(n, d.Row)
			}
		}
		if report, err := f.operator().Verify(f.Context(), c); err != nil || report.Compared != 100 || report.Apart != 0 || !slices.Equal(n, []string{"q3", "q8"}) {
			f.Errorf("found %v, %+v, %v", n, report, err)
		}

		f.append(cart(7), 1)
		f.build(right, 1)
		report, _ := f.verify(of(wrong, 2, 1))
		if report.Apart != 1 || report.Compared != 0 || !slices.Equal(report.FirstApart, []eventstore.StreamID{cart(7)}) {
			f.Errorf("the report is %+v", report)
		}
	})
}

// Sums that depend on which stream came first cannot be told, and are not made out to
// be wrong.
func TestVerifyUndefined(t *testing.T) {
	onSingles(t, func(f *shares) {
		p := projector.NewDelta("shares", projector.DeltaConfig{Categories: []string{"cart"}, Events: registry()})
		projector.OnDelta(p, func(f *projector.Effects, e added, r *eventstore.Recorded) {
			if e.Qty == 0 {
				f.Row("level").SetInt("n", 100)
			} else {
				f.Row("level").Add("n", e.Qty)
			}
			f.Row("level").Add("events", 1)
		})
		f.append(cart(1), 5, 0, 7)
		f.build(p, 1)
		c := projector.VerifyConfig{Assignment: projector.Assignment{Projection: p}}
		if report, _ := f.verify(c); report.Undefined != 0 {
			f.Errorf("within a stream: %+v", report)
		}
		f.must(f.client.HIncrBy(f.Context(), f.key("level"), "n", 1).Err())
		f.verify(c, "level")
		f.append(cart(2), 5)
		f.build(p, 1)
		if report, _ := f.verify(c); report.Undefined != 1 {
			f.Errorf("between streams: %+v", report)
		}
		f.must(f.client.HIncrBy(f.Context(), f.key("level"), "events", 1).Err())
		f.verify(c, "level")
	})
}

// Where there is nothing to compare with, that is said, and nothing is compared.
func TestVerifyEffectsNot(t *testing.T) {
	f := &shares{fixture: newFixture(t, testenv.Redis(t))}
	p := newShares(1, one)
	var err error
	f.rows, err = redissink.NewDelta(f.client, redissink.DeltaConfig{
		CheckpointsConfig: redissink.CheckpointsConfig{Namespace: f.store.Namespace(), Partitions: f.store.Partitions(), Projection: "shares"},
		Model:             "shares",
	})
	f.must(err)
	f.append(cart(1), 1, 2, 3)
	f.append(cart(2), 1)
	f.build(p, 1)
	a := projector.Assignment{Projection: p, Sink: f.rows}
	attaches := projector.NewDelta("shares", projector.DeltaConfig{Categories: []string{"cart"}, Events: registry()})
	projector.OnDelta(attaches, func(f *projector.Effects, _ added, _ *eventstore.Recorded) { f.Attach("something") })
	for _, test := range []struct {
		c    projector.VerifyConfig
		want error
		says string
	}{
		{projector.VerifyConfig{Assignment: a, Share: 0.5}, nil, "look at the whole"},
		{projector.VerifyConfig{Assignment: a, Share: 2}, nil, "above 0 and up to 1"},
		{projector.VerifyConfig{Assignment: a, Rate: -1}, nil, "-1 events per second"},
		{projector.VerifyConfig{Assignment: a, Heal: true}, projector.ErrShared, "projection shares: its rows are shared by streams, so that none can be made anew alone: rebuild it"},
		{projector.VerifyConfig{Assignment: projector.Assignment{Projection: newReactor(nil), Sink: newMemory()}}, projector.ErrNotVerifiable, "reactor"},
		{projector.VerifyConfig{Assignment: projector.Assignment{Projection: p, Sink: newMemory()}}, projector.ErrNotVerifiable, "as of one moment"},
		{projector.VerifyConfig{Assignment: projector.Assignment{Projection: attaches, Sink: f.rows}}, projector.ErrNotVerifiable, "what only the sink can do (a string)"},
	} {
		report, err := f.operator().Verify(f.Context(), test.c)
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || report.Rows > 0 {
			f.Errorf("%+v, %v; want %q", report, err, test.says)
		}
	}
	// A stream that lost its end, and one that has another event there.
	f.truncate(cart(1), 1)
	f.must(f.client.Del(f.Context(), f.keys.Stream(cart(2).String())).Err())
	f.must(f.client.HDel(f.Context(), f.keys.Heads(f.keys.Partition(cart(2).String())), cart(2).String()).Err())
	f.append(cart(2), 1)
	report, err := f.operator().Verify(f.Context(), projector.VerifyConfig{Assignment: a})
	halted := new(projector.HaltedError)
	if !errors.As(err, &halted) || !errors.Is(err, projector.ErrForked) || !errors.Is(err, projector.ErrRegressed) || halted.Count != 2 || report.Rows != 0 {
		f.Errorf("%+v, %v", report, err)
	}
}

// Rows are verified while events are appended and applied.
func TestVerifyEffectsMeanwhile(t *testing.T) {
	t.Parallel()
	onSingles(t, func(f *shares) {
		p := newShares(1, one)
		for i := range 50 {
			f.append(cart(i), int64(i%5))
		}
		f.build(p, 1)
		ctx, stop := context.WithCancel(f.Context())
		done := make(chan error, 1)
		go func() {
			defer close(done)
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := f.store.Append(f.Context(), cart(i%50), eventstore.Any, event("added", added{int64(i % 5)})); err != nil {
					done <- err
					return
				}
				if i%25 == 0 {
					if _, err := projector.CatchUp(f.Context(), f.store, p, f.rows, projector.CatchUpConfig{}); err != nil {
						done <- err
						return
					}
				}
			}
		}()
		c, verified := projector.VerifyConfig{Assignment: projector.Assignment{Projection: p, Sink: f.rows}}, 0
		for range 3 {
			report, err := f.operator().Verify(f.Context(), c)
			if errors.Is(err, redissink.ErrMoving) {
				continue
			}
			if verified++; err != nil || report.Different > 0 {
				f.Errorf("%+v, %v", report, err)
			}
		}
		stop()
		f.must(<-done)
		f.Logf("%d of 3 found a moment", verified)
		f.build(p, 1)
		f.verify(c)
	})
}

// truncate has a stream lose what is behind a version.
func (f *shares) truncate(s eventstore.StreamID, v eventstore.Version) {
	f.Helper()
	key := f.keys.Stream(s.String())
	for _, m := range f.client.XRange(f.Context(), key, fmt.Sprint("(", uint64(v)), "+").Val() {
		f.must(f.client.XDel(f.Context(), key, m.ID).Err())
	}
	f.must(f.client.HSet(f.Context(), f.keys.Heads(f.keys.Partition(s.String())), s.String(), uint64(v)).Err())
}

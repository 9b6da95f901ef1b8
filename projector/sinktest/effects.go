package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// EffectsSink is a sink of effects that can be looked at.
type EffectsSink interface {
	projector.Sink
	// Row reads a row of a generation, with every value as the text of
	// [projector.Value.String]; nil where there is none. A count that was never
	// added to may be there, as 0.
	Row(ctx context.Context, g projector.Generation, key string) (map[string]string, error)
}

// Column is a column of the rows.
type Column struct {
	Name string
	Kind projector.Kind
}

// Columns are those that [RunEffects] uses, for sinks that have to know them before.
var Columns = []Column{
	{"n", projector.Int},
	{"m", projector.Int},
	{"level", projector.Int},
	{"name", projector.String},
	{"note", projector.String},
	{"share", projector.Float},
	{"open", projector.Bool},
	{"since", projector.Time},
}

// RunEffects runs the suite of sinks that take effects. Each call of open returns a
// sink whose generations are empty and disturbed by nobody else.
func RunEffects(t *testing.T, open func(t *testing.T) EffectsSink, features Features) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *effects)
	}{
		{"NothingThere", testNoEffects},
		{"AddAndSet", testAddAndSet},
		{"KindsOfValues", testKindsInRows},
		{"NegativeCounts", testNegativeCounts},
		{"CountsThatAreSet", testCountsThatAreSet},
		{"MergedWithinAStream", testMergedWithinAStream},
		{"MergedAcrossStreams", testMergedAcrossStreams},
		{"ColumnNotMentionedKeepsItsValue", testColumnNotMentioned},
		{"RowsWithoutColumns", testRowsWithoutColumns},
		{"CheckpointsWithoutEffects", testCheckpointsWithoutEffects},
		{"StaleCheckpointRefused", testStaleEffectsRefused},
		{"OtherEventAtPositionRefused", testOtherEventRefused},
		{"RepeatedCommitCountsAsMade", testRepeatedEffects},
		{"RepeatedAmongOthers", testRepeatedAmongOthers},
		{"OutcomesAreIndependent", testIndependentEffects},
		{"BadEffectsFailAlone", testBadEffects},
		{"TooLargeSums", testTooLargeSums},
		{"ManyInOneCommit", testManyStreams},
		{"GenerationsAreApart", testEffectsOfGenerations},
		{"OneOfManyWritersWins", testOneEffectWins},
		{"HotRow", testHotRow},
		{"RowsInOppositeOrder", testRowsInOppositeOrder},
		{"AwkwardNames", testAwkwardNames},
		{"BeginTwice", testBeginTwiceWithEffects},
		{"ContextEnded", testEffectsContextEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &effects{T: t, EffectsSink: open(t), Features: features}
			if form := s.Takes(); form != projector.EffectsOnly {
				t.Fatalf("the sink takes %s", form)
			}
			if err := s.Begin(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			test.run(t, s)
		})
	}
}

// effects is a sink with the test it belongs to.
type effects struct {
	*testing.T
	EffectsSink
	Features
}

// effect returns a change of the stream cart-id whose effects fill makes.
func effect(id string, from, to projector.Checkpoint, fill func(*projector.Effects)) projector.Change {
	stream := eventstore.MustStreamID("cart", id)
	c := projector.Change{Stream: stream, Key: stream.String(), From: from, To: to, Effects: new(projector.Effects)}
	if fill != nil {
		fill(c.Effects)
	}
	return c
}

// adds makes effects that add to the count n of a row.
func adds(row string, n int64) func(*projector.Effects) {
	return func(f *projector.Effects) { f.Row(row).Add("n", n) }
}

// commit commits changes that all have to be made.
func (s *effects) commit(changes ...projector.Change) {
	s.Helper()
	refused, err := s.Commit(s.Context(), 1, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		s.Fatal(err)
	}
}

// want compares a row of generation 1.
func (s *effects) want(row string, pairs ...string) {
	s.Helper()
	s.wantIn(1, row, pairs...)
}

func (s *effects) wantIn(g projector.Generation, key string, pairs ...string) {
	s.Helper()
	row, err := s.Row(s.Context(), g, key)
	if err != nil {
		s.Fatal(err)
	}
	if row == nil {
		s.Errorf("row %q is not there; want %v", key, pairs)
	}
	wanted := make(map[string]bool)
	for i := 0; i < len(pairs); i += 2 {
		wanted[pairs[i]] = true
		if got, ok := row[pairs[i]]; !ok || got != pairs[i+1] {
			s.Errorf("row %q has %s = %q; want %q", key, pairs[i], got, pairs[i+1])
		}
	}
	for column, got := range row {
		if !wanted[column] && got != "0" {
			s.Errorf("row %q has %s = %q; want none", key, column, got)
		}
	}
}

func (s *effects) wantNone(rows ...string) {
	s.Helper()
	for _, key := range rows {
		if row, err := s.Row(s.Context(), 1, key); err != nil || row != nil {
			s.Errorf("row %q is %v, %v; want that it is not there", key, row, err)
		}
	}
}

// wantAt compares the checkpoint of the stream cart-id.
func (s *effects) wantAt(id string, want projector.Checkpoint) {
	s.Helper()
	wantCheckpoint(s.T, s, 1, "cart-"+id, want)
}

func testNoEffects(t *testing.T, s *effects) {
	s.wantAt("42", projector.Checkpoint{})
	s.wantNone("tea")
	commitOfNothing(t, s)
}

func testAddAndSet(t *testing.T, s *effects) {
	one, two := at(1), at(2)
	s.commit(effect("42", at(0), one, func(f *projector.Effects) {
		f.Row("tea").Add("n", 2)
		f.Row("tea").SetString("name", "Green tea")
	}))
	s.want("tea", "n", "2", "name", "Green tea")
	s.wantAt("42", one)
	s.commit(effect("42", one, two, func(f *projector.Effects) {
		f.Row("tea").Add("n", 3)
		f.Row("tea").SetString("name", "Black tea")
		f.Row("mug").Add("n", 1)
	}))
	s.want("tea", "n", "5", "name", "Black tea")
	s.want("mug", "n", "1")
	s.wantAt("42", two)
}

func testKindsInRows(t *testing.T, s *effects) {
	text := "a\tb\nü"
	if !s.NoZeroBytes {
		text += "\x00"
	}
	s.commit(effect("42", at(0), at(1), func(f *projector.Effects) {
		r := f.Row("r")
		r.SetInt("level", math.MinInt64)
		r.SetString("name", text)
		r.SetString("note", "")
		r.SetFloat("share", 0.1)
		r.SetBool("open", true)
		r.SetTime("since", time.Date(2011, 12, 9, 12, 50, 0, 123_456_789, time.UTC))
		r = f.Row("other")
		r.SetFloat("share", 1e300)
		r.SetBool("open", false)
		r.SetTime("since", time.Date(1950, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)))
	}))
	s.want("r", "level", "-9223372036854775808", "name", text, "note", "", "share", "0.1", "open", "true", "since", "2011-12-09T12:50:00.123456Z")
	s.want("other", "share", "1e+300", "open", "false", "since", "1949-12-31T23:00:00.000000Z")
}

func testNegativeCounts(t *testing.T, s *effects) {
	one := at(1)
	s.commit(effect("42", at(0), one, adds("tea", -5)))
	s.want("tea", "n", "-5")
	s.commit(effect("42", one, at(2), adds("tea", 5)))
	s.want("tea", "n", "0")
	s.commit(effect("7", at(0), at(1), adds("low", math.MinInt64)))
	s.want("low", "n", "-9223372036854775808")
}

func testCountsThatAreSet(t *testing.T, s *effects) {
	one, two, three := at(1), at(2), at(3)
	s.commit(effect("42", at(0), one, func(f *projector.Effects) { f.Row("a").SetInt("level", 10) }))
	s.want("a", "level", "10")
	s.commit(effect("42", one, two, func(f *projector.Effects) {
		f.Row("a").Add("level", 5)
		f.Row("b").SetInt("level", 7)
		f.Row("b").Add("level", 1) // added to what was set
		f.Row("c").Add("level", 1)
		f.Row("c").SetInt("level", 3) // which replaces what was added
		f.Row("c").Add("n", 4)
	}))
	s.want("a", "level", "15")
	s.want("b", "level", "8")
	s.want("c", "level", "3", "n", "4")
	s.commit(effect("42", two, three, func(f *projector.Effects) {
		f.Row("a").SetInt("level", 0)
		f.Row("b").Add("n", 2)
		f.Row("c").SetInt("level", -1)
		f.Row("c").Add("n", 4)
	}))
	s.want("a", "level", "0")
	s.want("b", "level", "8", "n", "2")
	s.want("c", "level", "-1", "n", "8")
}

func testMergedWithinAStream(t *testing.T, s *effects) {
	s.commit(effect("42", at(0), at(3), func(f *projector.Effects) {
		for i := range 3 {
			f.Row("tea").Add("n", int64(i))
			f.Row("tea").SetString("name", fmt.Sprint("name ", i))
			f.Row("mug").Add("n", 1)
		}
	}))
	s.want("tea", "n", "3", "name", "name 2")
	s.want("mug", "n", "3")
}

func testMergedAcrossStreams(t *testing.T, s *effects) {
	s.commit(
		effect("1", at(0), at(1), func(f *projector.Effects) {
			f.Row("tea").Add("n", 1)
			f.Row("tea").SetString("name", "first")
		}),
		effect("2", at(0), at(1), func(f *projector.Effects) {
			f.Row("mug").Add("n", 10)
			f.Row("tea").Add("n", 2)
			f.Row("tea").Add("m", 7)
		}),
		effect("3", at(0), at(1), func(f *projector.Effects) {
			f.Row("tea").SetString("name", "last")
			f.Row("tea").Add("n", -4)
		}),
	)
	s.want("tea", "n", "-1", "m", "7", "name", "last")
	s.want("mug", "n", "10")
}

// testColumnNotMentioned writes rows that mention different columns in one commit.
func testColumnNotMentioned(t *testing.T, s *effects) {
	one, two := at(1), at(2)
	rows := []string{"a", "b", "c", "d", "e"}
	s.commit(effect("42", at(0), one, func(f *projector.Effects) {
		for _, key := range rows {
			r := f.Row(key)
			r.Add("n", 1)
			r.Add("m", 2)
			r.SetInt("level", 3)
			r.SetString("name", "was "+key)
			r.SetBool("open", true)
			r.SetFloat("share", 0.5)
		}
	}))
	s.commit(effect("42", one, two, func(f *projector.Effects) {
		f.Row("a").Add("n", 10)
		f.Row("b").SetString("name", "is b")
		f.Row("c").SetInt("level", 0)
		f.Row("d").SetBool("open", false)
		f.Row("d").SetString("name", "")
		f.Row("d").Add("m", 10)
		f.Row("f").SetFloat("share", 0)
	}))
	s.want("a", "n", "11", "m", "2", "level", "3", "name", "was a", "open", "true", "share", "0.5")
	s.want("b", "n", "1", "m", "2", "level", "3", "name", "is b", "open", "true", "share", "0.5")
	s.want("c", "n", "1", "m", "2", "level", "0", "name", "was c", "open", "true", "share", "0.5")
	s.want("d", "n", "1", "m", "12", "level", "3", "name", "", "open", "false", "share", "0.5")
	s.want("e", "n", "1", "m", "2", "level", "3", "name", "was e", "open", "true", "share", "0.5")
	s.want("f", "share", "0")
}

// testRowsWithoutColumns adds nothing to rows. Whether there is then a row is left
// to the sink, as is one that nothing is said about.
func testRowsWithoutColumns(t *testing.T, s *effects) {
	one, two := at(1), at(2)
	s.commit(effect("42", at(0), one, func(f *projector.Effects) {
		f.Row("nothing")
		f.Row("zero").Add("n", 0)
	}))
	s.commit(effect("42", one, two, func(f *projector.Effects) {
		f.Row("nothing").Add("n", 1)
		f.Row("zero").Add("n", 2)
	}))
	s.want("nothing", "n", "1")
	s.want("zero", "n", "2")
	s.wantAt("42", two)
}

// testCheckpointsWithoutEffects is what a reactor needs.
func testCheckpointsWithoutEffects(t *testing.T, s *effects) {
	one, two := at(1), at(2)
	none := effect("2", at(0), one, nil)
	none.Effects = nil
	s.commit(effect("1", at(0), one, nil), none)
	s.wantAt("1", one)
	s.wantAt("2", one)
	s.commit(effect("1", one, two, nil))
	s.wantAt("1", two)
	wantRefused(t, s, effect("1", one, at(2), nil), two)
	wantRefused(t, s, effect("3", one, two, nil), at(0))
}

func testStaleEffectsRefused(t *testing.T, s *effects) {
	one, two := at(1), at(2)
	wantRefused(t, s, effect("42", one, two, adds("stale", 1)), at(0))
	s.commit(effect("42", at(0), two, adds("tea", 2)))
	wantRefused(t, s, effect("42", at(0), one, adds("stale", 1)), two)
	wantRefused(t, s, effect("42", one, at(3), adds("tea", 1)), two)
	s.want("tea", "n", "2")
	s.wantNone("stale")
	s.wantAt("42", two)
}

func testOtherEventRefused(t *testing.T, s *effects) {
	one := at(1)
	s.commit(effect("42", at(0), one, adds("tea", 1)))
	wantRefused(t, s, effect("42", at(1), at(2), adds("tea", 10)), one)
	wantRefused(t, s, effect("42", at(0), at(1), adds("tea", 10)), one)
	s.want("tea", "n", "1")
	s.wantAt("42", one)
}

func testRepeatedEffects(t *testing.T, s *effects) {
	one := at(1)
	first, second := effect("42", at(0), one, adds("tea", 1)), effect("42", one, at(2), adds("tea", 10))
	s.commit(first)
	s.commit(first)
	s.want("tea", "n", "1")
	s.commit(second)
	s.commit(second)
	s.want("tea", "n", "11")
	s.wantAt("42", second.To)
}

// testRepeatedAmongOthers repeats a commit of which a part was made.
func testRepeatedAmongOthers(t *testing.T, s *effects) {
	a, b, c := effect("a", at(0), at(1), adds("tea", 1)), effect("b", at(0), at(1), adds("tea", 10)), effect("c", at(0), at(1), adds("tea", 100))
	s.commit(b)
	s.commit(a, b, c)
	s.want("tea", "n", "111")
	s.commit(a, b, c)
	s.want("tea", "n", "111")
}

func testIndependentEffects(t *testing.T, s *effects) {
	there := at(5)
	s.commit(effect("b", at(0), there, adds("tea", 5)))
	a, b, d := effect("a", at(0), at(1), adds("tea", 10)), effect("b", at(0), at(1), adds("tea", 100)), effect("d", at(0), at(1), adds("mug", 1))
	bad := effect("c", at(0), at(1), func(f *projector.Effects) {
		f.Row("tea").Add("n", 1000)
		f.Attach(struct{}{})
	})
	refused, err := s.Commit(t.Context(), 1, []projector.Change{a, b, bad, d})
	if err != nil || len(refused) != 4 || refused[0] != nil || !errors.Is(refused[1], projector.ErrRefused) ||
		refused[2] == nil || errors.Is(refused[2], projector.ErrRefused) || refused[3] != nil {
		t.Fatalf("Commit = %v, %v; want the second refused and the third in error", refused, err)
	}
	s.want("tea", "n", "15")
	s.want("mug", "n", "1")
	s.wantAt("a", a.To)
	s.wantAt("b", there)
	s.wantAt("c", at(0))
	s.wantAt("d", d.To)
}

// testBadEffects makes effects that the sink cannot take, each among good ones.
func testBadEffects(t *testing.T, s *effects) {
	s.commit(effect("before", at(0), at(1), func(f *projector.Effects) {
		f.Row("full").Add("n", math.MaxInt64)
		f.Row("empty").Add("n", math.MinInt64)
		f.Row("text").SetString("name", "x")
	}))
	bad := map[string]func(*projector.Effects){
		"unknown":   func(f *projector.Effects) { f.Attach("what is this") },
		"overflow":  func(f *projector.Effects) { f.Row("full").Add("n", 1) },
		"underflow": func(f *projector.Effects) { f.Row("empty").Add("n", -1) },
		"text":      func(f *projector.Effects) { f.Row("text").Add("name", 1) },
	}
	if s.NoZeroBytes {
		bad["zero byte"] = func(f *projector.Effects) { f.Row("zero").SetString("name", "a\x00b") }
		bad["zero key"] = func(f *projector.Effects) { f.Row("a\x00b").Add("n", 1) }
	}
	good := int64(0)
	for name, fill := range bad {
		id := strings.ReplaceAll(name, " ", "_")
		changes := []projector.Change{
			effect(id+"-1", at(0), at(1), adds("good", 1)),
			effect(id, at(0), at(1), func(f *projector.Effects) {
				f.Row("bad").Add("n", 1)
				fill(f)
			}),
			effect(id+"-2", at(0), at(1), adds("good", 1)),
		}
		refused, err := s.Commit(t.Context(), 1, changes)
		if err != nil || len(refused) != 3 || refused[0] != nil || refused[1] == nil || refused[2] != nil {
			t.Fatalf("%s: Commit = %v, %v; want only the second refused", name, refused, err)
		}
		if !errors.Is(refused[1], projector.ErrEffect) || !strings.Contains(refused[1].Error(), "cart-"+id) {
			t.Errorf("%s: refused with %v; want ErrEffect, and the name of the stream", name, refused[1])
		}
		good += 2
		s.want("good", "n", fmt.Sprint(good))
		s.wantNone("bad", "zero")
		s.wantAt(id, at(0))
		s.wantAt(id+"-1", changes[0].To)
		s.wantAt(id+"-2", changes[2].To)
	}
	s.want("full", "n", fmt.Sprint(math.MaxInt64))
	s.want("empty", "n", fmt.Sprint(math.MinInt64))
	s.want("text", "name", "x")
}

// testTooLargeSums adds counts that fit alone, but not together.
func testTooLargeSums(t *testing.T, s *effects) {
	counts := []int64{math.MaxInt64 - 1, 2, 3}
	var changes []projector.Change
	for i, n := range counts {
		changes = append(changes, effect(fmt.Sprint(i), at(0), at(1), adds("tea", n)))
	}
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || len(refused) != len(counts) {
		t.Fatalf("Commit = %v, %v; want some refused", refused, err)
	}
	var sum int64
	for i, n := range counts {
		if refused[i] == nil {
			sum += n
			s.wantAt(fmt.Sprint(i), changes[i].To)
			continue
		}
		s.wantAt(fmt.Sprint(i), at(0))
		if !errors.Is(refused[i], projector.ErrEffect) {
			t.Errorf("refused with %v; want ErrEffect", refused[i])
		}
	}
	if sum <= 0 {
		t.Errorf("those that were made come to %d", sum)
	}
	s.want("tea", "n", fmt.Sprint(sum))
}

func testManyStreams(t *testing.T, s *effects) {
	const streams = 2_500
	changes := make([]projector.Change, streams)
	keys := make([]string, streams)
	for i := range changes {
		changes[i] = effect(fmt.Sprint(i), at(0), at(1), func(f *projector.Effects) {
			f.Row("all").Add("n", int64(i))
			f.Row(fmt.Sprint("row ", i)).Add("n", 1)
			f.Row(fmt.Sprint("row ", i/2)).SetString("name", "half")
		})
		keys[i] = changes[i].Key
	}
	s.commit(changes...)
	s.commit(changes...)
	checkpoints, failed, err := s.Checkpoints(t.Context(), 1, keys)
	if err := errors.Join(append(failed, err)...); err != nil {
		t.Fatal(err)
	}
	for i, c := range checkpoints {
		if c != changes[i].To {
			t.Fatalf("stream %d stands at %s; want %s", i, c, changes[i].To)
		}
	}
	s.want("all", "n", fmt.Sprint(streams*(streams-1)/2))
	s.want("row 7", "n", "1", "name", "half")
	s.want("row 2499", "n", "1")
}

func testEffectsOfGenerations(t *testing.T, s *effects) {
	if err := s.Begin(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	one, two := at(1), at(2)
	s.commit(effect("42", at(0), one, adds("tea", 1)))
	wantCheckpoint(t, s, 2, "cart-42", projector.Checkpoint{})
	if row, err := s.Row(t.Context(), 2, "tea"); row != nil || err != nil {
		t.Errorf("generation 2 has the row %v, %v", row, err)
	}
	refused, err := s.Commit(t.Context(), 2, []projector.Change{effect("42", at(0), two, adds("tea", 20))})
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	s.want("tea", "n", "1")
	s.wantIn(2, "tea", "n", "20")
	s.wantAt("42", one)
	wantCheckpoint(t, s, 2, "cart-42", two)
}

// testOneEffectWins is the compare-and-set itself: of writers that start from the
// same checkpoint exactly one may get through, and its effects alone count.
func testOneEffectWins(t *testing.T, s *effects) {
	const writers, steps = 8, 15
	from := at(0)
	for step := range uint64(steps) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var winners []projector.Checkpoint
		for writer := range writers {
			wg.Go(func() {
				to := at(step + 1)
				refused, err := s.Commit(t.Context(), 1, []projector.Change{effect("42", from, to, func(f *projector.Effects) {
					f.Row("all").Add("n", 1)
					f.Row(fmt.Sprint("writer ", writer)).Add("n", 1)
				})})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case refused == nil || refused[0] == nil:
					winners = append(winners, to)
				case !errors.Is(refused[0], projector.ErrRefused):
					t.Error(refused[0])
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d of %d writers got through step %d; want one", len(winners), writers, step)
		}
		from = winners[0]
		s.want("all", "n", fmt.Sprint(step+1))
	}
	s.wantAt("42", from)
}

// testHotRow adds to one row from many streams at once.
func testHotRow(t *testing.T, s *effects) {
	const writers, steps, streams = 6, 10, 3
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			from := make([]projector.Checkpoint, streams)
			for step := range uint64(steps) {
				changes := make([]projector.Change, streams)
				for i := range changes {
					changes[i] = effect(fmt.Sprintf("%d_%d", writer, i), from[i], at(step+1), func(f *projector.Effects) {
						f.Row("2011-12-09").Add("n", 1)
						f.Row("2011-12-09").Add("m", int64(writer))
						f.Row("2011-12-09").SetInt("level", 7)
					})
					from[i] = changes[i].To
				}
				refused, err := s.Commit(t.Context(), 1, changes)
				if err := errors.Join(append(refused, err)...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.want("2011-12-09", "n", fmt.Sprint(writers*steps*streams), "m", fmt.Sprint(steps*streams*writers*(writers-1)/2), "level", "7")
}

// testRowsInOppositeOrder has writers name the same rows in different orders.
func testRowsInOppositeOrder(t *testing.T, s *effects) {
	const writers, steps, rows = 4, 10, 50
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			from := at(0)
			for step := range uint64(steps) {
				c := effect(fmt.Sprint(writer), from, at(step+1), func(f *projector.Effects) {
					for i := range rows {
						if writer%2 == 1 {
							i = rows - 1 - i
						}
						f.Row(fmt.Sprint("row ", i)).Add("n", 1)
					}
				})
				from = c.To
				refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
				if err := errors.Join(append(refused, err)...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range rows {
		s.want(fmt.Sprint("row ", i), "n", fmt.Sprint(writers*steps))
	}
}

func testAwkwardNames(t *testing.T, s *effects) {
	names := []string{"{x}", "a}b{c", "a:b", "with space", "-", "@2:42", "ключ", "'\"\\;--", "_key", "%s", strings.Repeat("x", 200)}
	rows := append([]string{"", "\n", strings.Repeat("ü", 500)}, names...)
	for i, name := range names {
		s.commit(effect(name, at(0), at(1), func(f *projector.Effects) { f.Row("all").Add("n", int64(i)) }))
	}
	s.commit(effect("rows", at(0), at(1), func(f *projector.Effects) {
		for i, key := range rows {
			f.Row(key).SetString("name", fmt.Sprint(i))
			f.Row(key).Add("n", 1)
		}
	}))
	for i, key := range rows {
		s.want(key, "name", fmt.Sprint(i), "n", "1")
	}
	s.want("all", "n", fmt.Sprint(len(names)*(len(names)-1)/2))
	for _, name := range names {
		checkpoints, failed, err := s.Checkpoints(t.Context(), 1, []string{"cart-" + name})
		if err := errors.Join(append(failed, err)...); err != nil || checkpoints[0].IsZero() {
			t.Errorf("the stream %q stands at %v, %v", name, checkpoints, err)
		}
	}
}

func testBeginTwiceWithEffects(t *testing.T, s *effects) {
	one := at(1)
	s.commit(effect("42", at(0), one, adds("tea", 1)))
	if err := s.Begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.want("tea", "n", "1")
	s.wantAt("42", one)
	if err := s.Begin(t.Context(), 0); err == nil {
		t.Error("Begin accepted generation 0")
	}
}

func testEffectsContextEnded(t *testing.T, s *effects) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ctx, 1, []projector.Change{effect("42", at(0), at(1), adds("tea", 1))}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with an ended context returned %v", err)
	}
	if _, _, err := s.Checkpoints(ctx, 1, []string{"cart-42"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Checkpoints with an ended context returned %v", err)
	}
	s.wantNone("tea")
	s.wantAt("42", projector.Checkpoint{})
}

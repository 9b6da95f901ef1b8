package aggregatestest_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/aggregates/aggregatestest"
)

type (
	Opened struct {
		At   time.Time
		Tags map[string]string
	}
	Put    struct{ Thing string }
	Secret struct{ code int } // the codec cannot see the field
	Broken struct{ When func() }
)

type box struct {
	Opened bool
	Things map[string]int
}

var (
	errClosed = errors.New("the box is closed")
	errOther  = errors.New("something else")
)

// randomness is what a fold must not use.
var randomness int

func newBoxes() *aggregates.Definition[box] {
	d := aggregates.Define("box", aggregates.WithInitial(func() box { return box{Things: make(map[string]int)} }))
	aggregates.On(d, "opened", 1, func(b *box, _ Opened) { b.Opened = true })
	aggregates.On(d, "put", 1, func(b *box, e Put) {
		switch e.Thing {
		case "bomb":
			panic("no bombs")
		case "dice":
			randomness++
			b.Things[e.Thing] = randomness
		default:
			b.Things[e.Thing]++
		}
	})
	aggregates.On(d, "secret", 1, func(*box, Secret) {})
	aggregates.On(d, "broken", 1, func(*box, Broken) {})
	return d
}

func put(things ...string) func(box) ([]any, error) {
	return func(b box) ([]any, error) {
		if !b.Opened {
			return nil, fmt.Errorf("putting: %w", errClosed)
		}
		var events []any
		for _, t := range things {
			events = append(events, Put{Thing: t})
		}
		return events, nil
	}
}

func TestScenario(t *testing.T) {
	boxes := newBoxes()
	here := time.FixedZone("here", 3600)
	opened := Opened{At: time.Now().In(here), Tags: map[string]string{}}

	aggregatestest.For(t, boxes).When(put("cat")).ThenError(errClosed).
		ThenState(func(b box) {
			if b.Opened || len(b.Things) > 0 {
				t.Errorf("the state is %+v", b)
			}
		})
	aggregatestest.For(t, boxes).Given(opened).When(put()).ThenNothing()
	aggregatestest.For(t, boxes).Given(opened, Put{"cat"}).Given(Put{"cat"}).When(put("cat", "dog")).
		Then(Put{"cat"}, Put{"dog"}).
		ThenState(func(b box) {
			if !b.Opened || !maps.Equal(b.Things, map[string]int{"cat": 3, "dog": 1}) {
				t.Errorf("the state is %+v", b)
			}
		})
	// The same instant elsewhere, and no map where there was an empty one.
	aggregatestest.For(t, boxes).When(func(box) ([]any, error) { return []any{opened}, nil }).
		Then(Opened{At: opened.At.UTC()})
}

// A scenario that does not hold fails, and says why.
func TestScenarioFails(t *testing.T) {
	boxes := newBoxes()
	open := Opened{}
	for name, test := range map[string]struct {
		scenario func(testing.TB)
		says     string
	}{
		"other events": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("cat")).Then(Put{"dog"})
		}, "expected:\n aggregatestest_test.Put{Thing:dog}"},
		"fewer events": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("cat")).Then(Put{"cat"}, Put{"cat"})
		}, "decided:\n aggregatestest_test.Put{Thing:cat}\nexpected"},
		"other type": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("")).Then(Secret{})
		}, "decided:"},
		"other contents of a map": {func(tb testing.TB) {
			tagged := Opened{Tags: map[string]string{"a": "1"}}
			aggregatestest.For(tb, boxes).When(func(box) ([]any, error) { return []any{tagged}, nil }).
				Then(Opened{Tags: map[string]string{"b": "1"}})
		}, "decided:"},
		"other time": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).When(func(box) ([]any, error) { return []any{Opened{At: time.Unix(1, 0)}}, nil }).
				Then(Opened{At: time.Unix(2, 0)})
		}, "decided:"},
		"events where nothing is expected": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("cat")).ThenNothing()
		}, "expected that nothing happens"},
		"a refusal where nothing is expected": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).When(put("cat")).ThenNothing()
		}, "was refused: putting: the box is closed"},
		"a refusal where events are expected": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).When(put("cat")).Then(Put{"cat"})
		}, "was refused: putting: the box is closed"},
		"another refusal": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).When(put("cat")).ThenError(errOther)
		}, "expected: something else"},
		"no refusal": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("cat")).ThenError(errClosed)
		}, "expected the error: the box is closed"},
		"no error expected": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("cat")).ThenError(nil)
		}, "use Then or ThenNothing"},
		"no events expected": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put()).Then()
		}, "use ThenNothing"},
		"nothing expected": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("cat"))
		}, "add a Then"},
		"the decision changes the state": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open, Put{"cat"}).When(func(b box) ([]any, error) {
				b.Things["cat"]++
				return nil, nil
			}).ThenNothing()
		}, "deciding changed the state"},
		"a fold that is not deterministic": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("dice")).Then(Put{"dice"})
		}, "twice gave two states"},
		"a field the codec loses": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(Secret{code: 1}).When(put()).ThenError(errClosed)
		}, "does not survive"},
		"an event that cannot be encoded": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(Broken{When: func() {}}).When(put()).ThenError(errClosed)
		}, "cannot be encoded"},
		"an unknown event": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).When(func(box) ([]any, error) { return []any{1}, nil }).Then(1)
		}, "cannot be encoded"},
		"an event that cannot be folded": {func(tb testing.TB) {
			aggregatestest.For(tb, boxes).Given(open).When(put("bomb")).Then(Put{"bomb"})
		}, "no bombs"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			r.run(test.scenario)
			if !strings.Contains(r.failures.String(), test.says) {
				t.Errorf("the test failed with %q, expected %q", r.failures.String(), test.says)
			}
		})
	}
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	failures strings.Builder
	cleanups []func()
}

func (r *recorder) run(test func(testing.TB)) {
	done := make(chan struct{})
	go func() { // as the testing package does, for Fatalf ends a goroutine
		defer close(done)
		test(r)
	}()
	<-done
	for _, f := range r.cleanups {
		f()
	}
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	fmt.Fprintf(&r.failures, format+"\n", args...)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

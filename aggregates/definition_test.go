package aggregates_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
)

type counter struct{ N int }

type (
	addedV1   struct{ By string }
	added     struct{ By int }
	forgotten struct{}
)

func plus(c *counter, e added) {
	if e.By < 0 {
		panic("a counter only grows")
	}
	c.N += e.By
}

func recorded(t *testing.T, r *eventstore.Registry, value any) *eventstore.Recorded {
	t.Helper()
	e, err := r.Encode(value)
	if err != nil {
		t.Fatal(err)
	}
	return &eventstore.Recorded{Stream: eventstore.MustStreamID("counter", "1"), Version: 7, Event: e}
}

func TestFold(t *testing.T) {
	old := eventstore.NewRegistry()
	eventstore.Register[addedV1](old, "added", 1)
	lift := func(e addedV1) (added, error) { return added{By: len(e.By)}, nil }

	for name, define := range map[string]func() *aggregates.Definition[counter]{
		"newest schema first": func() *aggregates.Definition[counter] {
			d := aggregates.Define[counter]("counter")
			aggregates.On(d, "added", 2, plus)
			eventstore.Register[addedV1](d.Registry(), "added", 1)
			eventstore.Upcast(d.Registry(), "added", 1, lift)
			return d
		},
		"oldest schema first": func() *aggregates.Definition[counter] {
			d := aggregates.Define[counter]("counter")
			eventstore.Register[addedV1](d.Registry(), "added", 1)
			aggregates.On(d, "added", 2, plus)
			eventstore.Upcast(d.Registry(), "added", 1, lift)
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := define()
			state := d.Initial()
			for _, e := range []*eventstore.Recorded{recorded(t, d.Registry(), added{By: 2}), recorded(t, old, addedV1{By: "aaa"})} {
				if err := d.Fold(&state, e); err != nil {
					t.Fatal(err)
				}
			}
			if state.N != 5 {
				t.Errorf("the state is %+v, expected 5", state)
			}
		})
	}

	t.Run("without a fold", func(t *testing.T) {
		d := aggregates.Define[counter]("counter")
		eventstore.Register[forgotten](d.Registry(), "forgotten", 1)
		state := counter{N: 3}
		if err := d.Fold(&state, recorded(t, d.Registry(), forgotten{})); err != nil || state.N != 3 {
			t.Errorf("the state is %+v, the error %v", state, err)
		}
	})

	t.Run("unknown type", func(t *testing.T) {
		strict := aggregates.Define[counter]("counter")
		lax := aggregates.Define("counter", aggregates.WithRegistry[counter](eventstore.NewRegistry(eventstore.WithUnknown(eventstore.SkipUnknown))))
		e := recorded(t, old, addedV1{})
		if err := strict.Fold(new(counter), e); !errors.Is(err, eventstore.ErrUnknownType) || eventErrorAt(err) != 7 {
			t.Errorf("the error is %v", err)
		}
		if err := lax.Fold(new(counter), e); err != nil {
			t.Errorf("the error is %v", err)
		}
	})

	t.Run("panic", func(t *testing.T) {
		d := aggregates.Define[counter]("counter")
		aggregates.On(d, "added", 1, plus)
		err := d.Fold(new(counter), recorded(t, d.Registry(), added{By: -1}))
		if eventErrorAt(err) != 7 || !strings.Contains(err.Error(), "a counter only grows") {
			t.Errorf("the error is %v", err)
		}
	})
}

// eventErrorAt returns the version an event error is about, 0 if it is none.
func eventErrorAt(err error) eventstore.Version {
	e := new(eventstore.EventError)
	if !errors.As(err, &e) {
		return 0
	}
	return e.Version
}

func TestDefinitionPanics(t *testing.T) {
	// superseded folds a schema that turns out not to be the newest.
	superseded := func() *aggregates.Definition[counter] {
		d := aggregates.Define[counter]("counter")
		aggregates.On(d, "added", 1, plus)
		eventstore.Register[addedV1](d.Registry(), "added", 2)
		return d
	}
	for name, test := range map[string]struct {
		says string
		f    func()
	}{
		"bad category": {`category "Counter"`, func() { aggregates.Define[counter]("Counter") }},
		"two folds": {"has a fold already", func() {
			d := aggregates.Define[counter]("counter")
			aggregates.On(d, "added", 1, plus)
			aggregates.On(d, "added", 2, func(*counter, addedV1) {})
		}},
		"older schema": {"newest schema", func() {
			d := aggregates.Define[counter]("counter")
			eventstore.Register[addedV1](d.Registry(), "added", 2)
			aggregates.On(d, "added", 1, plus)
		}},
		"superseded schema, folding": {"newest schema", func() {
			superseded().Fold(new(counter), &eventstore.Recorded{Event: eventstore.Event{Type: "added", SchemaVersion: 1}})
		}},
		"superseded schema, repository": {"newest schema", func() { aggregates.NewRepository(nil, superseded(), aggregates.Config{}) }},
		"negative attempts": {"MaxAttempts -1", func() {
			aggregates.NewRepository(nil, aggregates.Define[counter]("counter"), aggregates.Config{MaxAttempts: -1})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if message, _ := recover().(string); !strings.Contains(message, test.says) {
					t.Errorf("the panic is %q, expected it to say %q", message, test.says)
				}
			}()
			test.f()
		})
	}
}

func TestStream(t *testing.T) {
	d := aggregates.Define[counter]("counter")
	if s, err := d.Stream("7"); err != nil || s.String() != "counter-7" || d.Category() != "counter" {
		t.Errorf("the stream is %s, the error %v", s, err)
	}
	if _, err := d.Stream(""); !errors.Is(err, eventstore.ErrInvalidStream) {
		t.Errorf("the error is %v", err)
	}
}

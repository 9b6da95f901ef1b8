package aggregatestest

import (
	"reflect"
	"testing"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
)

// Scenario is an entity with a past, given to a command.
type Scenario[S any] struct {
	tb   testing.TB
	def  *aggregates.Definition[S]
	past []any
}

// For starts a scenario about an entity without events.
func For[S any](tb testing.TB, def *aggregates.Definition[S]) *Scenario[S] {
	return &Scenario[S]{tb: tb, def: def}
}

// Given adds events that have happened.
func (s *Scenario[S]) Given(events ...any) *Scenario[S] {
	s.past = append(s.past, events...)
	return s
}

// When folds what was given and calls decide with the state. It fails the test
// where an event does not survive the codec, folding is not deterministic, or
// decide changes the state. States are compared by [reflect.DeepEqual]. A When
// has to be followed by a Then, or the test fails.
func (s *Scenario[S]) When(decide func(S) ([]any, error)) *Outcome[S] {
	s.tb.Helper()
	given, kept := s.fold(s.past)
	decided, err := decide(given)
	if !reflect.DeepEqual(given, kept) {
		s.tb.Errorf("deciding changed the state it was given:\n was %+v\n now %+v", kept, given)
	}
	o := &Outcome[S]{tb: s.tb, events: decided, err: err, state: kept}
	if err == nil {
		_, o.state = s.fold(append(s.past[:len(s.past):len(s.past)], decided...))
	}
	s.tb.Cleanup(func() {
		if !o.checked {
			s.tb.Errorf("nothing was expected of a decision: add a Then to the When")
		}
	})
	return o
}

// fold folds events into two states, which share nothing and are equal.
func (s *Scenario[S]) fold(events []any) (a, b S) {
	s.tb.Helper()
	a, b = s.def.Initial(), s.def.Initial()
	for i, value := range events {
		e := s.record(i, value)
		for _, state := range []*S{&a, &b} {
			if err := s.def.Fold(state, &e); err != nil {
				s.tb.Fatalf("event %d, %+v, cannot be folded: %v", i, value, err)
			}
		}
		if !reflect.DeepEqual(a, b) {
			s.tb.Fatalf("folding event %d, %+v, twice gave two states:\n %+v\n %+v", i, value, a, b)
		}
	}
	return a, b
}

// record makes the stored form of an event, and checks that the event can be got
// back from it.
func (s *Scenario[S]) record(i int, value any) eventstore.Recorded {
	s.tb.Helper()
	stream, err := s.def.Stream("scenario")
	if err != nil {
		s.tb.Fatal(err)
	}
	e, err := s.def.Registry().Encode(value)
	if err != nil {
		s.tb.Fatalf("event %d, %+v, cannot be encoded: %v", i, value, err)
	}
	r := eventstore.Recorded{Stream: stream, Version: eventstore.Version(i + 1), Event: e}
	decoded, err := s.def.Registry().Decode(&r)
	if err != nil {
		s.tb.Fatalf("event %d, %+v, cannot be decoded: %v", i, value, err)
	}
	if back := reflect.ValueOf(decoded).Elem(); !same(reflect.ValueOf(value), back) {
		s.tb.Fatalf("event %d does not survive encoding and decoding:\n was %+v\n now %+v", i, value, back)
	}
	return r
}

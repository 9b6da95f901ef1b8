package aggregatestest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// Outcome is what was decided. Its methods state what was expected, and fail the
// test where it is not so; they can be chained.
type Outcome[S any] struct {
	tb      testing.TB
	events  []any
	err     error
	state   S // after the events decided
	checked bool
}

// Then expects these events, at least one, in this order.
func (o *Outcome[S]) Then(events ...any) *Outcome[S] {
	o.tb.Helper()
	o.checked = true
	if len(events) == 0 {
		o.tb.Fatalf("Then expects events; use ThenNothing")
	}
	if o.err != nil {
		o.tb.Fatalf("the command was refused: %v; expected events:%s", o.err, list(events))
	}
	if !sameEvents(events, o.events) {
		o.tb.Errorf("decided:%s\nexpected:%s", list(o.events), list(events))
	}
	return o
}

// ThenNothing expects success without an event.
func (o *Outcome[S]) ThenNothing() *Outcome[S] {
	o.tb.Helper()
	o.checked = true
	if o.err != nil {
		o.tb.Fatalf("the command was refused: %v; expected that nothing happens", o.err)
	}
	if len(o.events) > 0 {
		o.tb.Errorf("decided:%s\nexpected that nothing happens", list(o.events))
	}
	return o
}

// ThenError expects that the command was refused with an error that
// [errors.Is] target, which is not nil.
func (o *Outcome[S]) ThenError(target error) *Outcome[S] {
	o.tb.Helper()
	o.checked = true
	switch {
	case target == nil:
		o.tb.Fatalf("ThenError expects an error; use Then or ThenNothing")
	case o.err == nil:
		o.tb.Errorf("expected the error: %v\ndecided:%s", target, list(o.events))
	case !errors.Is(o.err, target):
		o.tb.Errorf("refused with the error: %v\nexpected: %v", o.err, target)
	}
	return o
}

// ThenState calls check with the state the command left behind: after the events
// decided, or as given where the command was refused. check fails the test by
// itself.
func (o *Outcome[S]) ThenState(check func(S)) *Outcome[S] {
	o.tb.Helper()
	o.checked = true
	check(o.state)
	return o
}

func sameEvents(want, got []any) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !same(reflect.ValueOf(want[i]), reflect.ValueOf(got[i])) {
			return false
		}
	}
	return true
}

func list(events []any) string {
	if len(events) == 0 {
		return " nothing"
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n %T%+v", e, e)
	}
	return b.String()
}

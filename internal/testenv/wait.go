package testenv

import (
	"errors"
	"testing"
	"time"
)

// Wait calls cond until it returns nil, and fails the test with its last error
// if that takes longer than within.
//
// Tests wait for what they need rather than for a time in which it usually
// happens: a sleep is too short on a busy machine and too long on all others.
// The limit only bounds a failing test, so it can be generous.
func Wait(tb testing.TB, within time.Duration, cond func() error) {
	tb.Helper()
	if err := poll(within, cond); err != nil {
		tb.Fatalf("after %v: %v", within, err)
	}
}

// final is an error that waiting longer cannot mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// poll calls cond until it returns nil or a final error, or the time is over.
func poll(within time.Duration, cond func() error) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil || errors.As(err, new(final)) {
			return err
		}
		select {
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

package testenv

import (
	"testing"
	"time"

	"github.com/projectord/projectord/internal/servers"
)

// Wait calls cond until it returns nil, and fails the test with its last error
// if that takes longer than within.
//
// Tests wait for what they need rather than for a time in which it usually
// happens: a sleep is too short on a busy machine and too long on all others.
// The limit only bounds a failing test, so it can be generous.
func Wait(tb testing.TB, within time.Duration, cond func() error) {
	tb.Helper()
	if err := servers.Poll(within, cond); err != nil {
		tb.Fatalf("after %v: %v", within, err)
	}
}

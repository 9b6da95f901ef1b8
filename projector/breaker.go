package projector

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// breaker stops work while a backend is in trouble. After a failure it is open for
// a while, longer after every further one; then one attempt decides.
type breaker struct {
	wait   *backoff.ExponentialBackOff
	reason error     // nil while closed
	since  time.Time // when it opened
	until  time.Time // when the next attempt may be made
}

func newBreaker() *breaker { return &breaker{wait: newBackOff()} }

// open reports whether nothing may be tried now.
func (b *breaker) open(now time.Time) bool { return b.reason != nil && now.Before(b.until) }

// closed reports whether there is no trouble. A breaker that is neither open nor
// closed waits for the outcome of one attempt.
func (b *breaker) closed() bool { return b.reason == nil }

// fail notes a failure, and returns for how long nothing is to be tried; 0 where
// that was known. Failures of things that were under way when it opened do not
// count again.
func (b *breaker) fail(now time.Time, reason error) time.Duration {
	if b.open(now) {
		return 0
	}
	if b.closed() {
		b.since = now
	}
	again := b.wait.NextBackOff()
	b.reason, b.until = reason, now.Add(again)
	return again
}

// succeed notes a success, and returns how long there was trouble; 0 where there
// was none.
func (b *breaker) succeed(now time.Time) time.Duration {
	if b.closed() || b.open(now) {
		return 0
	}
	b.reason = nil
	b.wait.Reset()
	return now.Sub(b.since)
}

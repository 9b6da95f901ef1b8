// Package retry repeats round trips that failed for a moment. Which failures
// those are, the caller knows.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// tries is how often a round trip is made before the caller hears that it fails.
// The waits in between come to about half a second: enough for a dropped
// connection, not for an outage, about which the caller knows better.
const tries = 5

// longTries is the same for DoLonger: with waits of up to longestWait they come to about
// three seconds, and to several more where each try dials in vain.
const (
	longTries   = 20
	longestWait = 200 * time.Millisecond
)

// Do calls f until it succeeds, fails with an error that mayPass does not hold to
// be passing, or has been tried enough, and returns its last error. What f does
// must be safe to repeat. Do does not call f once ctx has ended.
func Do(ctx context.Context, mayPass func(error) bool, f func() error) error {
	return do(ctx, tries, mayPass, f)
}

// DoLonger is Do with more tries, for what the client is told not to repeat by itself: it
// takes the place of both, so that a restart or a failover of a few seconds is outlasted.
func DoLonger(ctx context.Context, mayPass func(error) bool, f func() error) error {
	return do(ctx, longTries, mayPass, f)
}

func do(ctx context.Context, tries uint, mayPass func(error) bool, f func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 20*time.Millisecond, longestWait
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if err := ctx.Err(); err != nil {
			return struct{}{}, Permanent(err)
		}
		err := f()
		if err != nil && !mayPass(err) {
			err = Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(tries), backoff.WithMaxElapsedTime(0))
	for {
		marked, ok := err.(*backoff.PermanentError)
		if !ok {
			return err
		}
		err = marked.Unwrap()
	}
}

// Permanent marks an error as one that trying again does not help, whatever
// mayPass would say. Do takes the mark off again.
func Permanent(err error) error { return backoff.Permanent(err) }

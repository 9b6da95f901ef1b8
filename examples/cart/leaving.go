package main

import (
	"context"
	"errors"
	"time"
)

// errLeftBehind says that something was not waited for any longer.
var errLeftBehind = errors.New("what was under way did not end in time")

// await returns what f does. When ctx ends before that, it leaves f behind, for the
// end of the program to end it, and returns errLeftBehind: not everything that waits
// for a server can be told to stop.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errLeftBehind
	}
}

// outlast returns a context that ends a while after another one.
func outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-later.Done():
			return
		}
		select {
		case <-time.After(d):
		case <-later.Done():
		}
	}()
	return later, cancel
}

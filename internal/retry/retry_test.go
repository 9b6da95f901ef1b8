package retry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/projectord/projectord/internal/retry"
)

var (
	errPassing = errors.New("passing")
	errFinal   = errors.New("final")
)

func mayPass(err error) bool { return errors.Is(err, errPassing) }

func TestDo(t *testing.T) {
	for name, c := range map[string]struct {
		errs  []error // what the calls return, the last one from then on
		want  error
		calls int
	}{
		"Success":       {[]error{nil}, nil, 1},
		"PassingOnce":   {[]error{errPassing, nil}, nil, 2},
		"PassingAlways": {[]error{errPassing}, errPassing, 5},
		"Final":         {[]error{errFinal}, errFinal, 1},
		"FinalLater":    {[]error{errPassing, errFinal}, errFinal, 2},
		"Marked":        {[]error{retry.Permanent(errPassing)}, errPassing, 1},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := retry.Do(t.Context(), mayPass, func() error {
				calls++
				return c.errs[min(calls, len(c.errs))-1]
			})
			// The mark must not stay on: it means nothing to the caller.
			if err != c.want || calls != c.calls {
				t.Errorf("returned %#v after %d calls; want %v after %d", err, calls, c.want, c.calls)
			}
		})
	}
}

func TestDoLonger(t *testing.T) {
	calls := 0
	err := retry.DoLonger(t.Context(), mayPass, func() error {
		if calls++; calls <= 15 {
			return errPassing
		}
		return errFinal
	})
	if err != errFinal || calls != 16 {
		t.Errorf("returned %v after %d calls; want what is final after 16", err, calls)
	}
}

func TestDoStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := retry.Do(ctx, mayPass, func() error {
		calls++
		cancel()
		return errPassing
	})
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("returned %v after %d calls; want the context's error after one", err, calls)
	}
	err = retry.Do(ctx, mayPass, func() error { calls++; return nil })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("an ended context: returned %v after %d calls", err, calls-1)
	}
}

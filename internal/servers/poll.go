package servers

import (
	"errors"
	"time"
)

// final is an error that waiting longer cannot mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Poll calls cond until it returns nil, or the time is over, and returns its last error.
func Poll(within time.Duration, cond func() error) error {
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

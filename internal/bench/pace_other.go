//go:build !linux

package bench

import "time"

// sleep blocks for a time, and as much longer as the timers of the runtime take.
func sleep(d time.Duration) { time.Sleep(d) }

// sleepExactly does nothing: there is no way to.
func sleepExactly() (undo func()) { return func() {} }

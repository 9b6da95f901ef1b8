package bench

import (
	"context"
	"runtime"
	"time"
)

// keepPace calls do at an even rate per second until so much time has passed, or ctx has
// ended, and returns how often it did. It never waits for what do begins, so do returns at
// once. Where it was kept from the processor it makes up for what is due, without a break
// in between: the rate stays what it is, and what comes late is not counted as slow.
func keepPace(ctx context.Context, rate int, during time.Duration, do func(n int)) int {
	// A thread of its own sleeps more exactly than a goroutine.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, done := time.Now(), 0
	for ctx.Err() == nil {
		passed := time.Since(start)
		for due := dueAfter(min(passed, during), rate); done < due; done++ {
			do(done)
		}
		if passed >= during {
			break
		}
		next := time.Duration(float64(done) / float64(rate) * float64(time.Second))
		sleep(min(next, during) - time.Since(start))
	}
	return done
}

// dueAfter is how many of so many a second are due after a time: the first is at once.
func dueAfter(passed time.Duration, rate int) int {
	return int(passed.Seconds()*float64(rate)) + 1
}

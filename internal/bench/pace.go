package bench

import (
	"context"
	"runtime"
	"time"
)

// keepPace calls do at an even rate per second until so much time has passed, or ctx has
// ended, and returns how often it did. It tells do when each call was due. It never waits for
// what do begins, so do returns at once. Where it was kept from the processor it makes up for
// what is due, without a break in between: the rate stays what it is, and who measures from
// when a call was due counts its lateness in.
func keepPace(ctx context.Context, rate int, during time.Duration, do func(n int, due time.Time)) int {
	// A thread of its own sleeps more exactly than a goroutine.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer sleepExactly()()
	start, done := time.Now(), 0
	for ctx.Err() == nil {
		passed := time.Since(start)
		for due := dueAfter(min(passed, during), rate); done < due; done++ {
			do(done, start.Add(dueIn(done, rate)))
		}
		if passed >= during {
			break
		}
		sleep(min(dueIn(done, rate), during) - time.Since(start))
	}
	return done
}

// dueIn is after what time the call with a number is due, of so many a second.
func dueIn(n, rate int) time.Duration {
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}

// dueAfter is how many of so many a second are due after a time: the first is at once.
func dueAfter(passed time.Duration, rate int) int {
	return int(passed.Seconds()*float64(rate)) + 1
}

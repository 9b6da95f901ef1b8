package main

import (
	"fmt"
	"strconv"
	"time"
)

// count writes a number with separators: 567,809.
func count[N int | int64 | uint64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// many writes a number of things.
func many(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// perSecond returns a rate, 0 where no time has passed.
func perSecond(n int64, in time.Duration) int64 {
	if in <= 0 {
		return 0
	}
	return int64(float64(n) / in.Seconds())
}

// rateText says how long so many events took, and how many a second that is.
func rateText(events int, seconds float64) string {
	took := time.Duration(seconds * float64(time.Second))
	return fmt.Sprintf("(%.1f s, %s events/s)", seconds, count(perSecond(int64(events), took)))
}

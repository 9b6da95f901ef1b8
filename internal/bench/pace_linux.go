package bench

import (
	"syscall"
	"time"
)

// sleep blocks the thread for a time. The runtime's timers are as exact as a millisecond
// where nothing else happens.
func sleep(d time.Duration) {
	if d > 0 {
		t := syscall.NsecToTimespec(int64(d))
		syscall.Nanosleep(&t, nil)
	}
}

// sleepExactly has this thread wake up when it is to, and not about 0.05 ms later, as the
// system otherwise lets threads do to save power. What it returns undoes that.
func sleepExactly() (undo func()) {
	slack := func(nanoseconds uintptr) {
		syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, nanoseconds, 0)
	}
	slack(1)
	return func() { slack(0) } // 0 is what the thread had when it began
}

package balancer_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// A worker has as many goroutines with thousands of streams as with one, and none is left
// when it is closed.
func TestGoroutinesDoNotGrow(t *testing.T) {
	const most = 3000
	b := open(t, testenv.Redis(t), 0)
	before := runtime.NumGoroutine()
	w := join(t, b, balancer.WorkerConfig{Capacity: most})
	holding := func(n int) int {
		announce(t, b, names(n)...)
		owned(t, n, w)
		for _, a := range w.Held() {
			w.Context(a)
		}
		return runtime.NumGoroutine()
	}
	with := holding(1)
	atMost := func(n int) {
		t.Helper()
		testenv.Wait(t, waitLong, func() error {
			if now := runtime.NumGoroutine(); now > n+2 {
				return fmt.Errorf("there are %d goroutines; with one stream there were %d, and %d before", now, with, before)
			}
			return nil
		})
	}
	holding(most)
	atMost(with)
	mustClose(t, w)
	atMost(before)
}

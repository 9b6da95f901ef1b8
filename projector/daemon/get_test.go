package daemon

import (
	"fmt"
	"testing"
	"time"
)

func TestWaitAndGet(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitAbsent, words("get carts 1"), "carts has not run")
	f.want(exitAbsent, words("wait carts cart-1 1 --timeout 50ms"), "carts has not run")
	waits(f, "carts", 1) // for the worker too
	f = worked(t, false)
	f.want(exitDone, words("get carts 1"), "1 in generation 1 of carts, made of 2 events", "tea    2")
	f.wantValue("2", exitDone, "get carts 1", "fields.tea")
	f.want(exitDone, words("get items tea -o yaml"), "  qty: \"3\"")
	f.want(exitAbsent, words("get carts 9"), "there is no 9 in generation 1 of carts")
	f.want(exitAbsent, words("get items nothing"), "there is no nothing")
	f.want(exitAbsent, words("get carts 1 --generation 3"), "carts has no generation 3")
	f.want(exitAbsent, words("get orders 1"), "there is no projection orders in namespace "+f.namespace+", only carts or items")
	f.want(exitAbsent, words("wait orders order-1 1 --timeout 1h"), "there is no projection orders")
	f.want(exitUsage, words("get carts"), "ID is missing")

	f.want(exitDone, words("wait carts cart-1 2"), "carts shows version 2 of cart-1")
	f.wantValue(2, exitDone, "wait carts cart-1 2", "version")
	f.want(exitLate, words("wait carts cart-1 3 --timeout 50ms"), "carts does not show version 3 of cart-1 after 50ms")
	worked(t, true).want(exitLate, words("wait carts cart-2 2 --timeout 50ms"), "it is parked at version 2, and shop parked show carts cart-2 says why")
	f.want(exitUsage, words("wait carts cart-1 x"), "VERSION is a number")
	f.want(exitUsage, words("wait carts cart 1"), "invalid stream")

	waits(f, "items", 3)
}

// waits checks that what is appended while somebody waits for it ends the waiting.
func waits(f *fixture, projection string, version int) {
	f.Helper()
	waited := make(chan result, 1)
	go func() { waited <- f.call(words(fmt.Sprintf("wait %s cart-1 %d --timeout 1m", projection, version))...) }()
	f.append("cart-1", "tea", 1)
	f.work(func() error {
		select {
		case r := <-waited:
			if r.code != exitDone {
				f.Errorf("it waited in vain: %s", r.err)
			}
			return nil
		case <-time.After(time.Millisecond):
			return fmt.Errorf("it waits")
		}
	})
}

package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// logged is a worker in the test's process, and what it logs.
type logged struct {
	*fixture
	log   transcript
	stop  func()
	ended chan int
}

// startLogged starts a worker, which ends with the test.
func (f *fixture) startLogged(flags ...string) *logged {
	f.Helper()
	ctx, stop := context.WithCancel(f.Context())
	w := &logged{fixture: f, stop: stop, ended: make(chan int, 1)}
	go func() {
		w.ended <- f.app.Run(ctx, Call{Args: append([]string{"run"}, flags...), Environ: f.environ, Out: &w.log, Err: &w.log})
		close(w.ended)
	}()
	f.Cleanup(func() { stop(); <-w.ended })
	return w
}

// saying waits until all of that is logged.
func (w *logged) saying(all ...string) {
	w.Helper()
	for _, text := range all {
		testenv.Wait(w, waitLong, func() error {
			if log := w.log.String(); !strings.Contains(log, text) {
				return fmt.Errorf("the worker does not say %q: %s", text, log)
			}
			return nil
		})
	}
}

// A worker logs what it builds and when that is built, how it stands now and then, what is
// parked since before, and where it has nothing to do.
func TestRunTells(t *testing.T) {
	t.Parallel()
	f := worked(t, true)
	w := f.startLogged()
	w.saying("a stream is parked since before", "stream=cart-2", "thirteen of it", `next="shop parked ls"`)
	f.append("cart-1", "tea", 1)
	w.saying(`msg="the worker works" events=`, " parked=1")

	newer := f.as(shopApp(2)).startLogged()
	newer.saying("the worker builds a generation, which readers do not see yet", "projection=carts generation=2 version=2")
	// The event that cannot be applied has the building fail, and then there is nothing
	// to do.
	newer.saying("the building fails", "the worker does nothing for a projection", "projection=carts version=2")
	newer.want(exitDone, words("parked skip carts cart-2 --version 2 --reason r --by ann --yes"))
	newer.want(exitDone, words("projections resume carts"))
	newer.saying("a generation is built, and kept up to date", `next="shop projections verify carts"`)
	for _, w := range []*logged{w, newer} {
		w.stop()
		if code := <-w.ended; code != exitDone {
			t.Errorf("the worker ended with code %d: %s", code, w.log.String())
		}
	}
}

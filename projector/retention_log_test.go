package projector_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// Rules that remove nothing, since all of it is needed, are told of: once, and again when
// something about it has changed.
func TestRetentionTellsWhatIsHeld(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	r.grow(cart(0), 20) // nobody has folded it
	var log testenv.Transcript
	var passes atomic.Int64
	retention := r.retention(projector.Rule{MaxCount: 1})
	retention.Now = func() time.Time { passes.Add(1); return time.Now() }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		retention.Run(ctx, time.Second, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	defer func() { stop(); <-ended }()
	saying := func(what string) {
		testenv.Wait(t, waitLong, func() error {
			if !strings.Contains(log.String(), what) {
				return fmt.Errorf("%q is not logged: %s", what, log.String())
			}
			return nil
		})
	}
	saying("held=1 stream=cart-0 wanted=20 needed=1 by=")
	now := passes.Load()
	testenv.Wait(t, waitLong, func() error {
		if n := passes.Load(); n < now+3 {
			return fmt.Errorf("it has looked %d times", n)
		}
		return nil
	})
	if n := strings.Count(log.String(), "held=1"); n != 1 {
		t.Errorf("it was told %d times:\n%s", n, log.String())
	}
	r.grow(cart(1), 20)
	saying("held=2")
}

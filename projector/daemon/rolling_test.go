package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

const (
	// rollingTTL is so long that a drain that left streams to their deadline would show.
	rollingTTL = time.Minute
	// rollingCarts are written to all the time, samplers look how long one event takes.
	rollingCarts, samplers = 200, 8
	// burstCarts grow all at once just before a daemon is told to stop.
	burstCarts = 3000
	// settledSamples is how many events are sampled between one restart and the next.
	settledSamples = 1000
	// loadEvery is how often each of the writers appends.
	writers, loadEvery = 4, 2 * time.Millisecond
	// rollingBound is how long an event may take to be seen meanwhile, on a machine that
	// has nothing else to do: make acceptance looks at it.
	rollingBound = 1500 * time.Millisecond
)

// traffic is what is written while daemons come and go, and how long it took to be seen.
type traffic struct {
	*fixture
	store  *redisstore.Store
	client redis.UniversalClient
	events atomic.Int64

	mu      sync.Mutex
	longest time.Duration // from an append to its visibility; guarded by mu
	at      time.Time     // when that ended
	samples int
}

// append1 appends an event and returns the version it has.
func (l *traffic) append1(stream string) eventstore.Version {
	event, err := shopEvents().Encode(added{"tea", 1})
	if err != nil {
		l.Error(err)
		return 0
	}
	id, err := eventstore.ParseStreamID(stream)
	if err != nil {
		l.Error(err)
		return 0
	}
	result, err := l.store.Append(context.WithoutCancel(l.Context()), id, eventstore.Any, event)
	if err != nil {
		l.Error(err)
		return 0
	}
	l.events.Add(1)
	return result.Last
}

// burst appends to many carts at once.
func (l *traffic) burst() {
	l.Helper()
	var all []eventstore.StreamAppend
	for i := range burstCarts {
		event, err := shopEvents().Encode(added{"tea", 1})
		if err != nil {
			l.Fatal(err)
		}
		id, err := eventstore.ParseStreamID(fmt.Sprintf("cart-b%d", i))
		if err != nil {
			l.Fatal(err)
		}
		all = append(all, eventstore.StreamAppend{Stream: id, Expected: eventstore.Any, Events: []eventstore.Event{event}})
	}
	for _, outcome := range l.store.AppendMany(l.Context(), all) {
		if outcome.Err != nil {
			l.Error(outcome.Err)
		}
	}
	l.events.Add(burstCarts)
}

// write appends to carts until ctx ends.
func (l *traffic) write(ctx context.Context) {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		l.append1(fmt.Sprintf("cart-%d", rand.N(rollingCarts)))
		<-tick.C
	}
}

// sample appends to a cart of its own and waits until readers see it, again and again.
func (l *traffic) sample(ctx context.Context, i int) {
	key := fmt.Sprintf("%s:cart:current:s%d", l.namespace, i)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		begin := time.Now()
		want := fmt.Sprintf("%d-0", l.append1(fmt.Sprintf("cart-s%d", i)))
		for l.client.HGet(context.WithoutCancel(ctx), key, "_position").Val() != want {
			if time.Since(begin) > waitLong {
				l.Errorf("%s was not seen to come to %s within %s", key, want, waitLong)
				return
			}
			<-tick.C
		}
		l.mu.Lock()
		l.samples++
		if took := time.Since(begin); took > l.longest {
			l.longest, l.at = took, time.Now()
		}
		l.mu.Unlock()
	}
}

func (l *traffic) sampled() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.samples
}

// Three daemons are restarted one after the other while events are appended all the time:
// each ends in good order, long before --ttl, and every event is in the read models, once.
func TestRollingRestart(t *testing.T) {
	f := shop(t)
	l := &traffic{fixture: f, store: f.store(), client: testenv.Redis(t)}
	start := func(name string) *process {
		return f.start("run", "--name", name, "--ttl", rollingTTL.String())
	}
	names := []string{"blue", "green", "red"}
	running := make([]*process, len(names))
	for i, name := range names {
		running[i] = start(name)
	}
	f.live(len(names))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() { l.write(ctx) })
	}
	for i := range samplers {
		writing.Go(func() { l.sample(ctx, i) })
	}
	// settle waits until all have work, and have had it for a while.
	settle := func() {
		t.Helper()
		until := l.sampled() + settledSamples
		testenv.Wait(t, waitLong, func() error {
			if out := f.call(words("workers ls -o json")...).out; strings.Count(out, `"carts@1"`) < len(names) {
				return fmt.Errorf("not all have work: %s", out)
			}
			if n := l.sampled(); n < until {
				return fmt.Errorf("%d events were sampled, %d are to be", n, until)
			}
			return nil
		})
	}
	settle()
	began := time.Now()
	for i, name := range names {
		l.burst() // so that it has some under way
		signalled := time.Now()
		running[i].signal(syscall.SIGTERM)
		running[i].wantCode(exitDone)
		if took := time.Since(signalled); took > rollingTTL/4 {
			t.Errorf("%s took %s to drain", name, took)
		} else {
			t.Logf("%s drained in %s", name, took.Round(time.Millisecond))
		}
		running[i] = start(name)
		settle()
	}
	stop()
	writing.Wait()
	t.Logf("%d events appended in %s; of %d samples the longest took %s until it was seen, %s after the first signal",
		l.events.Load(), time.Since(began).Round(time.Second), l.samples, l.longest.Round(time.Millisecond), l.at.Sub(began).Round(time.Millisecond))

	if os.Getenv("PROJECTORD_TEST_ACCEPTANCE") != "" && l.longest > rollingBound {
		t.Errorf("an event took %s until it was seen; %s is the bound", l.longest, rollingBound)
	}

	// Nothing is lost, and nothing counted twice.
	testenv.Wait(t, waitLong, f.says(fmt.Sprintf(`"qty": "%d"`, l.events.Load()), words("get items tea -o json")...))
	f.want(exitDone, words("audit"))
	f.want(exitDone, words("projections verify carts --fold"), "0 differ")
}

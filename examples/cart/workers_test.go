package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
)

// crew is workers of which one after the other is killed and replaced.
type crew struct {
	*testing.T
	at      *shopAt
	client  *redis.Client
	flags   []string
	workers [3]*worker
	names   [3]string
	kills   int
	hits    int // kills of workers that held carts
}

func startCrew(t *testing.T, at *shopAt, client *redis.Client, flags ...string) *crew {
	t.Helper()
	c := &crew{T: t, at: at, client: client, flags: append(flags, "--ttl", "1s")}
	for i := range c.workers {
		c.start(i)
	}
	for _, w := range c.workers {
		w.begun()
	}
	return c
}

// start starts a worker with a name of its own, so that its leases can be told from
// those of the one it replaces.
func (c *crew) start(i int) {
	c.Helper()
	c.names[i] = fmt.Sprintf("w%d-%d", i, c.kills)
	c.workers[i] = startWorker(c.T, append(c.flags, "--name", c.names[i])...)
}

// kill kills a worker at random and replaces it. It gives the workers a moment to
// claim carts, and takes one that has.
func (c *crew) kill(random *rand.Rand) {
	c.Helper()
	i := random.IntN(len(c.workers))
	for begin := time.Now(); !c.held(c.names[i]) && time.Since(begin) < claimWithin; {
		time.Sleep(time.Millisecond)
		i = random.IntN(len(c.workers))
	}
	w, name := c.workers[i], c.names[i]
	select {
	case err := <-w.ended:
		c.Fatalf("worker %s ended by itself: %v\n%s", name, err, w.err.String())
	default:
	}
	w.kill()
	c.kills++
	if c.held(name) { // the leases stay until others take over
		c.hits++
	}
	c.start(i)
}

// claimWithin is how long the workers are given to claim carts.
const claimWithin = time.Second

// held reports whether a worker holds carts, or did when it was killed.
func (c *crew) held(name string) bool {
	c.Helper()
	pipe := c.client.Pipeline()
	var leases []*redis.StringSliceCmd
	for _, name := range append(stateful, shared...) {
		group := name + "@1"
		keys := keyspace.New(c.at.namespace, c.at.store.Partitions())
		for p := range keys.Partitions() {
			leases = append(leases, pipe.HVals(c.Context(), keys.Leases(p, group)))
		}
	}
	if _, err := pipe.Exec(c.Context()); err != nil {
		c.Fatal(err)
	}
	return slices.ContainsFunc(leases, func(l *redis.StringSliceCmd) bool {
		return slices.ContainsFunc(l.Val(), func(session string) bool { return strings.HasPrefix(session, name+".") })
	})
}

// stop has all workers drain.
func (c *crew) stop() {
	c.Helper()
	for _, w := range c.workers {
		w.begun() // the last one has just been started
		w.stop()
	}
}

// TestWorkersKilled imports a history while three workers keep up with it, of which
// one after the other is killed. The read models must come out as if nothing had
// happened.
func TestWorkersKilled(t *testing.T) {
	t.Parallel()
	t.Run("Generated", func(t *testing.T) {
		f := generate(21, 6_000)
		// In parts, so that there is something new to do after every kill; each
		// begins with those before it.
		const parts = 8
		var files []string
		lines := strings.SplitAfter(f.ndjson, "\n")
		for i := range parts {
			files = append(files, written(t, "history", strings.Join(lines[:len(lines)*(i+1)/parts], "")))
		}
		k := killing{files: files, events: f.events, pause: 50 * time.Millisecond, hits: 4}
		k.run(t, func(flags, both []string) {
			wantListings(t, f.inRedis, flags...)
			wantListings(t, f.inPostgres, both...)
			wantSummaries(t, f.inRedis["carts"], both...)
		})
	})
	t.Run("UCI", func(t *testing.T) {
		dir, found := uci(t)
		if !found {
			t.Skip("the UCI data is not there, or the test is to be short")
		}
		want := readTruth(t, dir)
		k := killing{files: []string{filepath.Join(dir, "events.ndjson.zst")}, events: want.Events, pause: 2 * time.Second, hits: 2}
		k.run(t, func(flags, both []string) {
			wantTruth(t, want, inRedis, flags...)
			wantTruth(t, want, inPostgres, both...)
			wantSummaries(t, mustCart(t, append([]string{"listing", "carts"}, flags...)...), both...)
		})
	})
}

// killing is a test in which workers are killed, one at a time.
type killing struct {
	files  []string // to import, one after every kill
	events int      // in the last of them
	pause  time.Duration
	hits   int // how many workers at least are to be killed while they hold carts
}

// run kills workers until all is imported and applied, and calls check then.
func (k killing) run(t *testing.T, check func(flags, both []string)) {
	t.Helper()
	flags, client, _ := space(t)
	both := withPostgres(t, flags)
	at := opened(t, both...)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	c := startCrew(t, at, client, both...)

	start := time.Now()
	begin, imported := make(chan bool, len(k.files)), make(chan result, 1)
	go func() {
		var r result
		for _, file := range k.files {
			<-begin
			if r = cart(t.Context(), "", append([]string{"import", file}, flags...)...); r.status != 0 {
				break
			}
		}
		imported <- r
	}()
	importing := time.Duration(0)
	for done := false; !done && time.Since(start) < waitLong; {
		select {
		case begin <- true:
		default: // all may begin
		}
		time.Sleep(k.pause)
		c.kill(random)
		select {
		case r := <-imported:
			if r.status != 0 {
				t.Fatalf("importing: %s", r.err)
			}
			importing = time.Since(start)
		default:
		}
		if importing > 0 {
			left, err := allBehind(t.Context(), both...)
			if err != nil {
				t.Fatal(err)
			}
			done = len(left) == 0
		}
	}
	waitForAll(t, both...)
	all := time.Since(start)
	c.stop()
	t.Logf("seed %d: %s events imported in %.1f s and in all read models after %.1f s (%s a second), %d workers killed, %d of them with carts",
		seed, count(k.events), importing.Seconds(), all.Seconds(), count(perSecond(int64(k.events), all)), c.kills, c.hits)
	if c.hits < k.hits {
		t.Errorf("%d kills hit a worker at work; want %d or more", c.hits, k.hits)
	}
	check(flags, both)
}

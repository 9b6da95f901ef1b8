package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/examples/cart/shop"
)

// A newer version of cart_current and the rows of product_totals are built by workers
// that are killed again and again, while history is appended all the time. They take the
// place of the old ones, and give it back, without readers noticing anything but that.
func TestRebuildUnderFire(t *testing.T) {
	t.Parallel()
	t.Run("Generated", func(t *testing.T) {
		t.Parallel()
		f := generate(31, 4_000)
		files := f.parts(t, 6)
		r := firing{first: files[2], rest: files[3:5], last: files[5], kills: 4, hits: 1}
		r.run(t, func(flags, both []string) {
			wantListings(t, f.inRedis, flags...)
			wantListings(t, map[string]string{"products": f.inPostgres["products"]}, both...)
		})
	})
	t.Run("UCI", func(t *testing.T) {
		dir := acceptance(t)
		want := readTruth(t, dir)
		all := filepath.Join(dir, "events.ndjson.zst")
		files := parts(t, all, 10)
		r := firing{first: files[4], rest: files[5:9], last: all, every: 2 * time.Second, rate: 30_000, kills: 1_000, hits: 3}
		r.run(t, func(flags, both []string) {
			wantTruth(t, want, inRedis, flags...)
			wantTruth(t, want, []string{"products"}, both...)
		})
	})
}

// firing is a test in which workers are killed while they build.
type firing struct {
	first string   // to import before
	rest  []string // to import one after the other meanwhile; each begins with those before
	last  string   // to import while readers are sent to and fro
	every time.Duration
	rate  int // events a second that are built; 0 for as many as can be
	kills int // at the most
	hits  int // how many workers at least are to be killed while they build
}

// underFire is one run of it.
type underFire struct {
	firing
	*testing.T
	flags, both []string
	workers     []*worker // of versions 1 and 2 of the code by turns
	random      *rand.Rand
	killed, hit int
}

// built is what the test builds, by its projection.
var built = map[string]int{shop.CurrentProjection: 2, shop.ProductsProjection: 1}

func (r firing) run(t *testing.T, check func(flags, both []string)) {
	t.Helper()
	seed := rand.Uint64()
	flags, _, _ := space(t)
	u := &underFire{firing: r, T: t, flags: flags, both: withPostgres(t, flags), random: rand.New(rand.NewPCG(seed, 0))}
	mustCart(t, append([]string{"import", r.first}, flags...)...)
	mustCart(t, append([]string{"project"}, u.both...)...)
	u.workers = make([]*worker, 4)
	for i := range u.workers[:2] {
		u.start(2 * i)
		u.workers[2*i].begun() // else generation 1 might be of the newer code
	}
	start := time.Now()
	imported := u.importing(u.rest...)
	for name, version := range built {
		want(t, 0, about(u.both, "rebuild", name, code(version), "--rate", fmt.Sprint(r.rate)), "generation 2 of "+name)
	}
	u.start(1)
	u.start(3)
	importing := u.fire(imported)
	for name, version := range built {
		want(t, 0, about(u.both, "rebuild", name, code(version), "--wait"), fmt.Sprintf("generation 2 of %s, of version %d, is built", name, version))
	}
	u.upToDate()
	t.Logf("seed %d: %.1f s of importing meanwhile, all built and up to date after %.1f s, %d workers killed, %d of them while they built",
		seed, importing.Seconds(), time.Since(start).Seconds(), u.killed, u.hit)
	if u.hit < u.hits {
		t.Errorf("%d kills hit a worker that built; want %d or more", u.hit, u.hits)
	}
	p := startPoller(t, opened(t, flags...))
	u.sendAround(p)
	u.upToDate()
	u.verify()
	u.switchOver(p)
	check(flags, u.both)
	for _, w := range u.workers {
		w.begun()
		w.stop()
	}
}

// importing imports files one after the other in the background.
func (u *underFire) importing(files ...string) <-chan result {
	imported := make(chan result, 1)
	go func() {
		var r result
		for _, file := range files {
			if r = cart(u.Context(), "", append([]string{"import", file}, u.flags...)...); r.status != 0 {
				break
			}
		}
		imported <- r
	}()
	return imported
}

// upToDate waits until all generations are.
func (u *underFire) upToDate() {
	u.Helper()
	for name := range built {
		waitBuiltAs(u.T, name, 1, u.both...)
		waitBuiltAs(u.T, name, 2, u.both...)
	}
}

// start starts a worker in a place, with the code that belongs there.
func (u *underFire) start(i int) {
	u.Helper()
	u.workers[i] = startWorker(u.T, append(slices.Clone(u.both), "--ttl", "500ms", code(1+i%2))...)
}

// fire kills one worker after the other until all is built and imported, or enough were
// killed, and returns how long the import took.
func (u *underFire) fire(imported <-chan result) time.Duration {
	u.Helper()
	start := time.Now()
	due := time.NewTicker(max(u.every, time.Millisecond))
	defer due.Stop()
	done, importing, built := uint64(0), time.Duration(0), false
	for !built || importing == 0 {
		select {
		case r := <-imported:
			if r.status != 0 {
				u.Fatal(r.err)
			}
			importing = time.Since(start)
		case <-due.C:
			builds := false
			built, builds, done = u.progress(done)
			// Where no pace is set, whoever kills waits for what is built to grow.
			if u.killed < u.kills && !built && (builds || u.every > 0) || u.every > 0 && importing == 0 {
				u.kill(builds)
			}
		}
		if time.Since(start) > 2*waitLong {
			u.Fatalf("after %s it is not built", time.Since(start))
		}
	}
	return importing
}

// progress reports whether both generations are built, and else whether more has been
// built of them than when it was asked before.
func (u *underFire) progress(before uint64) (built, builds bool, done uint64) {
	u.Helper()
	built = true
	for _, g := range statusOfAll(u.T, u.both...) {
		switch {
		case g.Generation != 2:
		case g.Building != nil:
			built, done = false, done+g.Building.EventsDone
		default: // it counts on, so that what the other has done still is more
			done += 1 << 32
		}
	}
	return built, !built && done > before, done
}

// kill kills a worker of the newer code while that builds, and else any.
func (u *underFire) kill(builds bool) {
	u.Helper()
	i := u.random.IntN(len(u.workers))
	if builds {
		i |= 1
		u.hit++
	}
	u.workers[i].kill()
	u.killed++
	u.start(i)
}

// verify compares all generations with the events, and with each other.
func (u *underFire) verify() {
	u.Helper()
	for name, version := range built {
		for _, args := range [][]string{
			{"--fold"},
			{"--fold", "--generation", "2", code(version)},
			{"--ignore", shop.DistinctField},
		} {
			u.Log(strings.TrimSpace(want(u.T, 0, about(u.both, "verify", name, args...), ", 0 differ").out))
		}
	}
	want(u.T, exitWrong, current(u.flags, "verify", "--list", "1"), `generation 2, nothing in generation 1`, " more")
}

// sendAround has readers see the new generation and the old one again, as long as the
// last of the history is imported.
func (u *underFire) sendAround(p *poller) {
	u.Helper()
	imported := u.importing(u.last)
	for times := 1; ; times++ {
		want(u.T, 0, current(u.flags, "promote", "--yes"), "readers see generation 2")
		p.see("version 2")
		want(u.T, 0, current(u.flags, "rollback", "--yes"), "readers see generation 1")
		p.see("version 1")
		select {
		case r := <-imported:
			if r.status != 0 {
				u.Fatal(r.err)
			}
			u.Logf("readers were sent to the new generation and back %d times while history was imported", times)
			return
		default:
		}
	}
}

// switchOver has readers see the new generations, and then the old ones again.
func (u *underFire) switchOver(p *poller) {
	t := u.T
	t.Helper()
	all := func() string {
		return allListings(t, u.flags...) + mustCart(t, append([]string{"listing", "products"}, u.both...)...)
	}
	before := all()
	want(t, exitUnconfirmed, current(u.flags, "promote"), "readers would see generation 2", "--yes does it")
	p.see("version 1")
	want(t, 0, current(u.flags, "promote", "--yes"), "readers see generation 2")
	want(t, 0, about(u.both, "promote", shop.ProductsProjection, "--yes"), "readers see generation 2")
	p.see("version 2")
	if after := all(); after != before {
		t.Error("the listings of the new generations are not those of the old ones")
	}
	want(t, exitFailed, append([]string{"project"}, u.flags...), "of version 2, and this code of version 1", "CART_CODE=2 cart project")
	mustCart(t, append([]string{code(2), "project"}, u.flags...)...)
	want(t, exitUnconfirmed, current(u.flags, "rollback"), "readers would see generation 1", "up to date")
	want(t, 0, current(u.flags, "rollback", "--yes"), "readers see generation 1")
	want(t, 0, about(u.both, "rollback", shop.ProductsProjection, "--yes"), "readers see generation 1")
	p.see("version 1")
	p.stop()
	t.Logf("%d reads of all carts meanwhile, none missing, half or mixed", p.reads.Load())
	if after := all(); after != before {
		t.Error("the documents are not those of before")
	}
}

package main

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// TestKilled kills the real program while it projects, again and again at random
// moments, and starts it again. The read models must come out as if nothing had
// happened.
func TestKilled(t *testing.T) {
	t.Parallel()
	const kills = 20
	flags, client, namespace := space(t)

	var check func()
	if dir, found := uci(t); found {
		mustCart(t, append([]string{"import", filepath.Join(dir, "events.ndjson.zst")}, flags...)...)
		check = func() { t.Helper(); wantTruth(t, readTruth(t, dir), inRedis, flags...) }
	} else {
		f := generate(9, 12_000)
		mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
		check = func() { t.Helper(); wantListings(t, f.inRedis, flags...) }
	}

	project := func() time.Duration {
		begin := time.Now()
		if out, err := program(t, append([]string{"project"}, flags...)...).CombinedOutput(); err != nil {
			t.Fatalf("projecting: %v\n%s", err, out)
		}
		return time.Since(begin)
	}
	documents := func() int {
		keys, err := client.Keys(t.Context(), namespace+":*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	// How long it takes undisturbed, with everything to do and with nothing,
	// says how long to let it live.
	life := project() / 8
	life += project()
	all := documents()
	drop(t, client, namespace+":*")

	seed := rand.Uint64()
	t.Logf("seed %d, lives of up to %s", seed, life)
	random := rand.New(rand.NewPCG(seed, 0))
	finished, halfway := 0, 0
	for killed := 0; killed < kills; {
		if startAndKill(t, random, life, flags) {
			killed++
			if n := documents(); n > 0 && n < all {
				halfway++
			}
			continue
		}
		// It was done before its time: give it everything to do again.
		if finished++; finished > 10*kills {
			t.Fatalf("the program finished %d times and could be killed %d times", finished, killed)
		}
		drop(t, client, namespace+":*")
	}
	t.Logf("%d of %d kills left the read models half done", halfway, kills)
	if halfway == 0 {
		t.Error("no kill hit the program at work")
	}
	project()
	check()
}

// startAndKill starts to project and kills the program after a random time. It
// reports false where the program came to its end before that.
func startAndKill(t *testing.T, random *rand.Rand, life time.Duration, flags []string) bool {
	t.Helper()
	cmd := program(t, append([]string{"project"}, flags...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	moment := time.NewTimer(time.Duration(random.Int64N(int64(life))))
	defer moment.Stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("the program failed by itself: %v", err)
		}
		return false
	case <-moment.C:
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Log("it had just ended:", err)
	}
	return <-ended != nil
}

package balancer_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// openSpread opens lanes that have several partitions.
func openSpread(tb testing.TB, client redis.UniversalClient, partitions int) *balancer.Lanes {
	tb.Helper()
	l, err := balancer.OpenLanes(tb.Context(), client, balancer.Config{Namespace: testenv.Namespace(tb), Partitions: partitions}, three...)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// largePool returns a client of the test's cluster with connections for all partitions.
func largePool(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	options := *testenv.Cluster(tb).Options()
	options.PoolSize = 400
	client := redis.NewClusterClient(&options)
	tb.Cleanup(func() { client.Close() })
	return client
}

// atOnce demands of how long something took, each time, that it is not waited for: a loaded
// machine may be late now and then, by less than a read waits for.
func atOnce(tb testing.TB, all []time.Duration) {
	tb.Helper()
	slices.Sort(all)
	median, worst := all[len(all)/2], all[len(all)-1]
	tb.Logf("median %s, worst %s", median, worst)
	if median > 50*time.Millisecond || worst > time.Second {
		tb.Errorf("the median is %s, and the worst %s", median, worst)
	}
}

// Where there are many partitions for few places, a stream in any of them is assigned as
// soon as it is announced: the places are not waited with one partition after another.
func TestLanesAtOnceInAnyPartition(t *testing.T) {
	kinds := map[string]func(tb testing.TB) redis.UniversalClient{
		"cluster": func(tb testing.TB) redis.UniversalClient { return largePool(tb) },
		"redis":   func(tb testing.TB) redis.UniversalClient { return testenv.Redis(tb) },
	}
	for _, c := range []struct {
		kind       string
		partitions int
	}{{"cluster", 1}, {"cluster", 16}, {"cluster", 64}, {"redis", 1}, {"redis", 16}, {"redis", 512}} {
		t.Run(fmt.Sprint(c.kind, c.partitions), func(t *testing.T) {
			client := kinds[c.kind](t)
			t.Run("Idle", func(t *testing.T) {
				l := openSpread(t, client, c.partitions)
				w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 10})
				var took []time.Duration
				for i := range 30 {
					begun := time.Now()
					announceIn(t, l, "high", fmt.Sprint("urgent-", i), 1)
					a := laneNext(t, w, balancer.Assigned).Assignment
					took = append(took, time.Since(begun))
					finishIn(t, w, a)
				}
				atOnce(t, took)
			})
			t.Run("Busy", func(t *testing.T) {
				l := openSpread(t, client, c.partitions)
				announceIn(t, l, "low", "slow", 50)
				w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 6})
				for range holding(t, w, map[string]int{"low": 4}) {
					laneNext(t, w, balancer.Assigned)
				}
				var took []time.Duration
				for i := range 30 {
					begun := time.Now()
					announceIn(t, l, "high", fmt.Sprint("urgent-", i), 1)
					a := laneNext(t, w, balancer.Assigned).Assignment
					if took = append(took, time.Since(begun)); a.Lane != "high" {
						t.Fatal("assigned was", a)
					}
					finishIn(t, w, a)
				}
				atOnce(t, took)
			})
			t.Run("WithoutLanes", func(t *testing.T) {
				b := open(t, client, c.partitions)
				w := join(t, b, balancer.WorkerConfig{Capacity: 3})
				var took []time.Duration
				for _, name := range names(30) {
					begun := time.Now()
					announce(t, b, name)
					nextOf(t, w, balancer.Assigned)
					took = append(took, time.Since(begun))
					mustFinish(t, w, name)
				}
				atOnce(t, took)
			})
		})
	}
}

// What several lanes and partitions have waiting is all worked on, by workers with few
// places, and none has more than its capacity.
func TestLanesManyPartitions(t *testing.T) {
	for kind, client := range map[string]redis.UniversalClient{"cluster": largePool(t), "redis": testenv.Redis(t)} {
		t.Run(kind, func(t *testing.T) {
			const n, capacity = 100, 4
			l := openSpread(t, client, 16)
			first := joinLanes(t, l, balancer.WorkerConfig{Capacity: capacity})
			second := joinLanes(t, l, balancer.WorkerConfig{Capacity: capacity})
			for _, lane := range three {
				announceIn(t, l, lane.Name, "order", n)
			}
			begun := time.Now()
			for left := 3 * n; left > 0; left-- {
				var w *balancer.LaneWorker
				var told balancer.Notification
				select {
				case told = <-first.Notifications():
					w = first
				case told = <-second.Notifications():
					w = second
				case <-time.After(waitLong):
					t.Fatal("nothing is assigned, and left are", left)
				}
				if held := w.Held(); told.Kind != balancer.Assigned || len(held) > capacity {
					t.Fatal("told was", told, "and held are", held)
				}
				finishIn(t, w, told.Assignment)
			}
			t.Log("it took", time.Since(begun))
		})
	}
}

// reads returns how many commands a server was sent that read of groups.
func reads(tb testing.TB, client *redis.Client) int {
	tb.Helper()
	info, err := client.Info(tb.Context(), "commandstats").Result()
	if err != nil {
		tb.Fatal(err)
	}
	m := regexp.MustCompile(`cmdstat_xreadgroup:calls=(\d+)`).FindStringSubmatch(info)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// A worker that has nothing to do waits, however many partitions there are for its places:
// in each lane it reads four times a second, and a little more around its sweeps.
func TestIdleDoesNotSpin(t *testing.T) {
	for _, partitions := range []int{1, 512} {
		for name, begin := range map[string]func(client *redis.Client){
			"Lanes": func(client *redis.Client) {
				joinLanes(t, openSpread(t, client, partitions), balancer.WorkerConfig{Capacity: 10, TTL: time.Second})
			},
			"OnePlace": func(client *redis.Client) {
				join(t, open(t, client, partitions), balancer.WorkerConfig{Capacity: 1, TTL: time.Second})
			},
		} {
			t.Run(fmt.Sprint(name, partitions), func(t *testing.T) {
				client := testenv.StartRedis(t).Client(t)
				begin(client)
				second := func() float64 {
					before, begun := reads(t, client), time.Now()
					<-time.After(time.Second)
					return float64(reads(t, client)-before) / time.Since(begun).Seconds()
				}
				second() // it looks at all partitions first
				rate := second()
				if t.Logf("%.0f reads a second", rate); rate > 150 {
					t.Errorf("it reads %.0f times a second, with nothing to read", rate)
				}
			})
		}
	}
}

// What partitions bring together for one place goes to a worker with room, and waits for
// none of the TTLs after which it would be looked for anyway.
func TestHandedOnWhereItDoesNotFit(t *testing.T) {
	for kind, client := range map[string]redis.UniversalClient{"cluster": largePool(t), "redis": testenv.Redis(t)} {
		t.Run(kind, func(t *testing.T) {
			const partitions, n = 16, 60
			b := open(t, client, partitions)
			w := join(t, b, balancer.WorkerConfig{Capacity: 1, TTL: waitLong})
			for i := range 50 { // by then it listens to all
				before := fmt.Sprint("before-", i)
				announce(t, b, before)
				assigned(t, w, 1)
				mustFinish(t, w, before)
			}
			announce(t, b, names(n)...)
			other := join(t, b, balancer.WorkerConfig{Capacity: n, TTL: waitLong})
			begun := time.Now()
			owned(t, n, w, other)
			if took := time.Since(begun); took > waitLong/2 || len(w.Held()) > 1 {
				t.Errorf("after %s one with a single place has %d", took, len(w.Held()))
			} else {
				t.Log("it took", took)
			}
		})
	}
}

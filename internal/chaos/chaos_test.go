package chaos_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/chaos"
	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	chaos.Child()
	testenv.Main(m, testenv.NoLeaks)
}

// Everything here is a small share of what `make chaos` does, which sets these
// variables.
const (
	killsVariable    = "PROJECTORD_CHAOS_KILLS"
	stallsVariable   = "PROJECTORD_CHAOS_STALLS"
	restartsVariable = "PROJECTORD_CHAOS_RESTARTS"
	faultsVariable   = "PROJECTORD_CHAOS_FAULTS"
	minutesVariable  = "PROJECTORD_CHAOS_MINUTES"
	seedVariable     = "PROJECTORD_CHAOS_SEED"
	kindVariable     = "PROJECTORD_CHAOS_KIND"
	// logVariable, where set, has workers log to standard error.
	logVariable = "PROJECTORD_CHAOS_LOG"
)

// size returns the number in a variable, or else a small one.
func size(t *testing.T, variable string, small uint64) int { return int(number(t, variable, small)) }

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// fencedShare is how many of a hundred stalls have to be fenced where there are
// enough of them to tell.
const fencedShare, enoughStalls = 95, 100

// run runs a configuration, prints its line and returns what was found.
func run(t *testing.T, config chaos.Config) *chaos.Result {
	t.Helper()
	config.Seed = number(t, seedVariable, rand.Uint64N(1_000_000))
	if os.Getenv(logVariable) != "" {
		config.Log = os.Stderr
	}
	r := chaos.Run(t, config)
	t.Log(r)
	for _, p := range r.Problems {
		t.Error(p)
	}
	return r
}

// clean runs a configuration after which nothing may be wrong. All it asks for has to
// have happened, too.
func clean(t *testing.T, config chaos.Config) *chaos.Result {
	t.Helper()
	r := run(t, config)
	if r.Wrong() {
		t.Errorf("seed %d: %d effects were lost, %d doubled, %d reordered", r.Seed, r.Lost, r.Doubled, r.Reordered)
	}
	stalls := 0
	for _, n := range r.Stalled {
		stalls += n
	}
	faults := config.Drops + config.Cuts + config.Terminations + config.RedisStalls
	asked := [...]int{config.Kills, config.Stalls, config.RedisRestarts, config.PostgresRestarts, faults}
	done := [...]int{r.Killed, stalls, r.RestartedRedis, r.RestartedPostgres, r.Faults}
	if done != asked {
		t.Errorf("seed %d: %v kills, stalls, restarts of Redis and of Postgres, and other faults happened; want %v", r.Seed, done, asked)
	}
	if share := r.FencedPercent(); config.Stalls >= enoughStalls && share < fencedShare {
		t.Errorf("seed %d: %.1f%% of the stalls were fenced; want %d%%", r.Seed, share, fencedShare)
	}
	return r
}

// onEachKind runs a test on a single Redis and on a cluster.
func onEachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{chaos.Single, chaos.Cluster} {
		t.Run(kind, func(t *testing.T) {
			switch only := os.Getenv(kindVariable); only {
			case "", kind:
			case chaos.Single, chaos.Cluster:
				t.Skipf("%s is %s", kindVariable, only)
			default:
				t.Fatalf("%s is %s; want %s or %s", kindVariable, only, chaos.Single, chaos.Cluster)
			}
			t.Parallel()
			test(t, kind)
		})
	}
}

// everywhere fails the test unless something happened at each point.
func everywhere(t *testing.T, counts map[chaos.Point]int, points []chaos.Point) {
	t.Helper()
	for _, p := range points {
		if counts[p] == 0 {
			t.Errorf("nothing happened at the point %q: %v", p, counts)
		}
	}
}

// Scenario 5: Redis does not answer for 5 s while the owners are healthy.
func TestScenario5_RedisStallsUnderHealthyOwners(t *testing.T) {
	t.Parallel()
	clean(t, chaos.Config{Workers: 3, RedisStalls: 1})
}

// Scenario 6: an owner is stopped for 1.5 × TTL at each named point; what it commits
// late changes nothing.
func TestScenario6_StalledOwnerChangesNothing(t *testing.T) {
	onEachKind(t, func(t *testing.T, kind string) {
		r := clean(t, chaos.Config{Kind: kind, Workers: 4, Stalls: len(chaos.Points)})
		if r.Fenced == 0 {
			t.Error("no stall was fenced")
		}
		everywhere(t, r.Stalled, chaos.Points)
	})
}

// Scenario 7: workers are killed between reading pointers and claiming, between claim
// and commit, and between commit and settle.
func TestScenario7_KilledBetweenSteps(t *testing.T) {
	onEachKind(t, func(t *testing.T, kind string) {
		points := []chaos.Point{chaos.AfterPointers, chaos.AfterClaim, chaos.AfterRead, chaos.BeforeSettle}
		r := clean(t, chaos.Config{Kind: kind, Workers: 4, Kills: 12, Points: points})
		everywhere(t, r.KilledAt, points)
	})
}

// Scenario 25: after any mix of faults everything equals a pure fold of the events.
func TestScenario25_AnyMixOfFaults(t *testing.T) {
	onEachKind(t, func(t *testing.T, kind string) {
		kinds := 2
		if os.Getenv(kindVariable) != "" {
			kinds = 1
		}
		share := func(variable string, small uint64) int {
			return (size(t, variable, small) + kinds - 1) / kinds
		}
		// Each kind has all the restarts: it is its own servers that go down.
		restarts, faults := size(t, restartsVariable, 1), share(faultsVariable, 4)
		clean(t, chaos.Config{
			Kind: kind, Kills: share(killsVariable, 12), Stalls: share(stallsVariable, 8),
			Drops: faults, Cuts: faults, Terminations: faults,
			RedisRestarts: restarts, RedisStalls: (restarts + 3) / 4, PostgresRestarts: restarts,
			Limit: time.Duration(size(t, minutesVariable, 2)) * time.Minute,
		})
	})
}

// Scenario 26: Redis loses acknowledged events. What they did stands, and their
// streams are halted; nothing happens again.
func TestScenario26_TruncatedFile(t *testing.T) {
	t.Parallel()
	r := clean(t, chaos.Config{Workers: 3, Kills: 2, Truncate: true})
	if r.Gone == 0 || r.Halted == 0 {
		t.Errorf("%d events are gone, %d streams halted", r.Gone, r.Halted)
	}
}

// Scenario 27: Postgres crashes, and connections break amid transactions and inside
// COMMIT.
func TestScenario27_PostgresRestartsAndBrokenCommits(t *testing.T) {
	t.Parallel()
	clean(t, chaos.Config{
		Workers: 3, PostgresRestarts: 1, Drops: 3, Terminations: 2, Stalls: 3,
		Points: []chaos.Point{chaos.InTransaction, chaos.BeforeCOMMIT, chaos.AfterCOMMIT},
	})
}

// Scenario 35, the negative control: without the compare-and-set, the same faults
// double effects, and the harness sees that.
func TestScenario35_NegativeControl(t *testing.T) {
	t.Parallel()
	r := run(t, chaos.Config{
		Naive: true, Workers: 4, Kills: 2, Stalls: 6,
		Points: []chaos.Point{chaos.AfterRead, chaos.BeforeCommit},
	})
	if r.Doubled == 0 {
		t.Errorf("seed %d: no effect was doubled without the compare-and-set; the harness does not see what it is there for", r.Seed)
	}
}

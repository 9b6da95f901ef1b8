package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// fullSize is the number of events of a run from which on samples have their full length.
const fullSize = 200_000

// scale is what part of its full length a sample has.
func (c Config) scale() float64 { return min(1, float64(c.Events)/fullSize) }

// scaled returns how much work a sample does that would do n, in a run with fewer events:
// proportionally less, but at least so much.
func (l *lab) scaled(n, least int) int { return max(least, int(float64(n)*l.scale())) }

// sampleAtLeast is how long a sample takes at least of cheap work that costs the same
// however much there was before: in less, a pause of the machine counts for too much.
const sampleAtLeast = 500 * time.Millisecond

// enough returns what says whether a sample is done, which begins now: so much work, and
// more until it has taken long enough.
func (l *lab) enough(n int) func(done int) bool {
	begin, least := time.Now(), l.during(sampleAtLeast)
	return func(done int) bool { return done >= n && time.Since(begin) >= least }
}

// rate times work, which returns how many units it did, and gives units in a second. What
// the servers and this process spend meanwhile is the sample's too.
func (l *lab) rate(ctx context.Context, work func(ctx context.Context) (units int, err error)) (sample, error) {
	return l.observe(ctx, func(ctx context.Context) (sample, error) {
		begin := time.Now()
		units, err := work(ctx)
		took := time.Since(begin)
		return sample{value: float64(units) / took.Seconds(), units: units}, err
	})
}

// observe takes note of what is spent while work makes a sample, which sets its units.
func (l *lab) observe(ctx context.Context, work func(ctx context.Context) (sample, error)) (sample, error) {
	runtime.GC() // what others left is not this one's to clear away
	before, err := l.spending(ctx)
	if err != nil {
		return sample{}, err
	}
	s, err := work(ctx)
	if err != nil {
		return sample{}, err
	}
	after, err := l.spending(ctx)
	if err != nil {
		return sample{}, err
	}
	s.spent = spent{
		client: after.client - before.client, redis: after.redis - before.redis, allocs: after.allocs - before.allocs,
		postgres: after.postgres - before.postgres, hasPostgres: before.hasPostgres && after.hasPostgres,
	}
	return s, nil
}

// spending returns what was spent until now.
func (l *lab) spending(ctx context.Context) (s spent, err error) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.allocs = memory.Mallocs
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return s, err
	}
	s.client = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	for _, p := range l.postgreses {
		if p != nil && p.server != nil {
			if cpu, ok := treeCPU(p.server.PID()); ok {
				s.postgres, s.hasPostgres = s.postgres+cpu, true
			}
		}
	}
	s.redis, err = redisCPU(ctx, l.redis)
	return s, err
}

// redisCPU returns the CPU time that a Redis has spent.
func redisCPU(ctx context.Context, client *redis.Client) (total time.Duration, err error) {
	info, err := client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for its CPU time: %w", err)
	}
	for line := range strings.Lines(info) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0, fmt.Errorf("CPU time of Redis: %w", err)
			}
			total += time.Duration(seconds * float64(time.Second))
		}
	}
	return total, nil
}

// userTicks is how many ticks a second has in /proc, on every Linux there is.
const userTicks = 100

// treeCPU returns the CPU time of a process, of its children, and of those it has waited
// for; it is not known where there is no /proc.
func treeCPU(pid int) (time.Duration, bool) {
	own, ok := processTicks(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if !ok {
		return 0, false
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, false
	}
	for child := range strings.FieldsSeq(string(children)) {
		// One that ended in between is counted by its parent the next time.
		ticks, _ := processTicks(filepath.Join("/proc", child, "stat"))
		own += ticks
	}
	return time.Duration(own) * time.Second / userTicks, true
}

// processTicks reads the times out of a stat file: utime and stime, and those of children
// waited for.
func processTicks(path string) (ticks int64, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	// The name of the program, in brackets, may have spaces in it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return 0, false
	}
	for _, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return ticks, true
}

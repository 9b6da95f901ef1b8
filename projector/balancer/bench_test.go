package balancer_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// BenchmarkHandOut takes streams from their announcement to their end, through one worker
// whose handlers do nothing.
func BenchmarkHandOut(b *testing.B) {
	const n, handlers = 20_000, 64
	client := testenv.StartRedis(b).Client(b)
	bal := open(b, client, 0)
	w := join(b, bal, balancer.WorkerConfig{Capacity: 1000})
	done := make(chan struct{}, n)
	for range handlers {
		go func() {
			for a := range w.Notifications() {
				if a.Kind == balancer.Assigned && w.Finish(b.Context(), a.Assignment) == nil {
					done <- struct{}{}
				}
			}
		}()
	}
	total := 0
	for b.Loop() {
		go func() {
			for all := names(n); len(all) > 0; all = all[500:] {
				announce(b, bal, all[:500]...)
			}
		}()
		for range n {
			<-done
		}
		total += n
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "streams/s")
	mustClose(b, w)
}

var infoNumber = regexp.MustCompile(`(?m)^(\w+):(\d+)`)

// info returns numbers of a server.
func info(b *testing.B, client *redis.Client, sections ...string) map[string]int {
	b.Helper()
	all := make(map[string]int)
	for _, s := range sections {
		for _, m := range infoNumber.FindAllStringSubmatch(client.Info(b.Context(), s).Val(), -1) {
			all[m[1]], _ = strconv.Atoi(m[2])
		}
	}
	return all
}

// commands returns how many commands a server has executed, those of scripts included.
func commands(b *testing.B, client *redis.Client) (n int) {
	b.Helper()
	for _, line := range strings.Split(client.Info(b.Context(), "commandstats").Val(), "\n") {
		if m := regexp.MustCompile(`calls=(\d+)`).FindStringSubmatch(line); m != nil {
			calls, _ := strconv.Atoi(m[1])
			n += calls
		}
	}
	return n
}

// BenchmarkIdle holds 10,000 streams for five seconds and tells what that costs.
func BenchmarkIdle(b *testing.B) {
	const n = 10_000
	client := testenv.StartRedis(b).Client(b)
	bal := open(b, client, 0)
	w := join(b, bal, balancer.WorkerConfig{Capacity: n})
	memory := func() (used uint64) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		here, there := memory(), info(b, client, "memory")["used_memory"]
		announce(b, bal, names(n)...)
		assigned(b, w, n)
		before, sent, began := commands(b, client), info(b, client, "stats")["total_net_input_bytes"], time.Now()
		<-time.After(5 * time.Second)
		took := time.Since(began).Seconds()
		b.ReportMetric(float64(commands(b, client)-before)/took, "commands/s")
		b.ReportMetric(float64(info(b, client, "stats")["total_net_input_bytes"]-sent)/took, "bytes-sent/s")
		b.ReportMetric(float64(memory()-here)/n, "go-bytes/stream")
		b.ReportMetric(float64(info(b, client, "memory")["used_memory"]-there)/n, "redis-bytes/stream")
		mustFinish(b, w, names(n)...)
	}
	mustClose(b, w)
}

// BenchmarkTakeover kills a process with 1,000 streams, and tells after how long two others
// have been told of all of them.
func BenchmarkTakeover(b *testing.B) {
	const n = 1000
	for _, ttl := range []time.Duration{3 * time.Second, time.Second} {
		b.Run(ttl.String(), func(b *testing.B) {
			server := testenv.StartRedis(b)
			client := server.Client(b)
			for i := 0; b.Loop(); i++ {
				bal := open(b, client, 0)
				announce(b, bal, names(n)...)
				cmd := exec.Command(os.Args[0])
				cmd.Env = []string{fmt.Sprintf("%s=%s %s victim %d %s", childEnv, server.URL(), bal.Namespace(), n, ttl)}
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				testenv.Wait(b, waitLong, func() error {
					if client.HLen(b.Context(), "{"+bal.Namespace()+":0}:leases:workers").Val() < n {
						return fmt.Errorf("not held yet")
					}
					return nil
				})
				config := balancer.WorkerConfig{Capacity: n, TTL: ttl}
				one, two := join(b, bal, config), join(b, bal, config)
				cmd.Process.Kill()
				killed := time.Now()
				cmd.Wait()
				testenv.Wait(b, waitLong, func() error {
					if have := len(one.Held()) + len(two.Held()); have < n {
						return fmt.Errorf("%d are held", have)
					}
					return nil
				})
				b.ReportMetric(time.Since(killed).Seconds(), "s-to-all")
				mustClose(b, one)
				mustClose(b, two)
			}
		})
	}
}

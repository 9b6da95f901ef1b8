package balancer_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/lease"
)

// process is a worker in a process of its own, which can be killed.
type process struct {
	tb    testing.TB
	cmd   *exec.Cmd
	lines chan string
}

// start runs a worker in a process. It says each notification in a line, and "more" before
// the first.
func start(tb testing.TB, url, namespace, name string, capacity int, ttl time.Duration) *process {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{childEnv + "=" + strings.Join([]string{url, namespace, name, strconv.Itoa(capacity), ttl.String()}, " ")}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &process{tb: tb, cmd: cmd, lines: make(chan string, 1<<16)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	tb.Cleanup(func() {
		p.kill()
		<-read
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Error(err)
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
}

// says waits for n lines that begin with a word.
func (p *process) says(word string, n int) {
	p.tb.Helper()
	deadline := time.After(waitLong)
	for n > 0 {
		select {
		case line := <-p.lines:
			if strings.HasPrefix(line, word) {
				n--
			}
		case <-deadline:
			p.tb.Fatalf("the process said %q %d times less than expected", word, n)
		}
	}
}

// child is the worker in the process.
func child() {
	var url, namespace, name string
	var capacity int
	var text string
	if _, err := fmt.Sscan(os.Getenv(childEnv), &url, &namespace, &name, &capacity, &text); err != nil {
		panic(err)
	}
	ttl, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(options)
	b, err := balancer.Open(context.Background(), client, balancer.Config{Namespace: namespace})
	if err != nil {
		panic(err)
	}
	w, err := b.Join(context.Background(), balancer.WorkerConfig{Name: name, Capacity: capacity, TTL: ttl})
	if err != nil {
		panic(err)
	}
	for n := range w.Notifications() {
		fmt.Println(n.Kind, n.Stream, w.Holds(n.Assignment))
	}
}

// died leaves behind n streams that a worker had, and one that it was given and had not
// leased yet, and returns them. The session is dead by the clock of Redis.
func died(tb testing.TB, b *balancer.Balancer, client redis.UniversalClient, n int) {
	tb.Helper()
	const ttl = 2 * time.Second
	m := stranger(tb, b, client, ttl)
	held := 0
	for held < n {
		for p := range b.Partitions() {
			batch, err := m.Read(tb.Context(), []int{p}, min(1000, n-held+1), 0)
			if err != nil {
				tb.Fatal(err)
			}
			claims := lease.ByStream(batch.Pointers)
			if len(claims) > n-held { // the last one is read and not leased
				claims = claims[:n-held]
			}
			if _, err := m.Claim(tb.Context(), claims); err != nil {
				tb.Fatal(err)
			}
			if held += len(claims); held == n {
				break
			}
		}
	}
	dies(tb, b, client, m)
}

// dies has a session be dead by the clock of Redis.
func dies(tb testing.TB, b *balancer.Balancer, client redis.UniversalClient, m *lease.Member) {
	tb.Helper()
	for p := range b.Partitions() {
		if err := client.HSet(tb.Context(), keyspace.New(b.Namespace(), b.Partitions()).Sessions(p), m.Session().Name(), 1).Err(); err != nil {
			tb.Fatal(err)
		}
	}
}

// stranger is a session that no worker of the package has.
func stranger(tb testing.TB, b *balancer.Balancer, client redis.UniversalClient, ttl time.Duration) *lease.Member {
	tb.Helper()
	log, err := lease.NewLog(client, lease.Config{Namespace: b.Namespace(), Partitions: b.Partitions()})
	if err != nil {
		tb.Fatal(err)
	}
	session, err := log.Register(tb.Context(), lease.SessionConfig{Worker: "stranger", TTL: ttl})
	if err != nil {
		tb.Fatal(err)
	}
	return log.Existing("workers").Join(session)
}

func logKey(b *balancer.Balancer, p int) string {
	return keyspace.New(b.Namespace(), b.Partitions()).Log(p)
}

// A worker whose process is stuck learns that it has lost its streams, and knows it before
// it is told.
func TestStopped(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, names(20)...)
	p := start(t, testenv.RedisURL(t), b.Namespace(), "stuck", 20, shortTTL)
	p.says("assigned", 20)
	p.signal(syscall.SIGSTOP)
	w := join(t, b, balancer.WorkerConfig{Capacity: 20, TTL: shortTTL})
	for stream, n := range assigned(t, w, 20) {
		if !n.TakenOver {
			t.Errorf("%s was assigned as new", stream)
		}
	}
	p.signal(syscall.SIGCONT)
	deadline := time.After(waitLong)
	for told := 0; told < 20; {
		select {
		case line := <-p.lines:
			if strings.HasPrefix(line, "disowned") {
				told++
			}
			if strings.HasSuffix(line, "true") {
				t.Error("the process that was stuck says", line)
			}
		case <-deadline:
			t.Fatal("the process was told of", told)
		}
	}
	owned(t, 20, w)
}

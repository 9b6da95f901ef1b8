package testenv

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// doomed tells the test process that it is the child of TestNothingOutlivesAKill.
const doomed = "PROJECTORD_TEST_DOOMED"

// awaitKill is what the child does: it starts servers, says so and waits for its
// end.
func awaitKill(t *testing.T) {
	RedisURL(t)
	Postgres(t)
	for k := range keepers.running {
		fmt.Println("server", k.pid, k.dir)
	}
	fmt.Println("started")
	select {}
}

func TestNothingOutlivesAKill(t *testing.T) {
	if os.Getenv(doomed) != "" {
		awaitKill(t)
	}
	_, err := findRedis()
	must(t, err)
	_, err = findPostgres()
	must(t, err)

	child := exec.Command(os.Args[0], "-test.run=^TestNothingOutlivesAKill$")
	child.Env = append(os.Environ(), doomed+"=1", "PROJECTORD_TEST_REDIS_URL=", "PROJECTORD_TEST_POSTGRES_URL=")
	output, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())

	servers := make(map[int]string) // directories by pid
	lines := bufio.NewScanner(output)
	for lines.Scan() && lines.Text() != "started" {
		var pid int
		var dir string
		if _, err := fmt.Sscanf(lines.Text(), "server %d %s", &pid, &dir); err == nil {
			servers[pid] = dir
		}
	}
	child.Process.Kill()
	child.Wait()

	if len(servers) != 2 {
		t.Fatalf("the child started %d servers", len(servers))
	}
	for pid, dir := range servers {
		Wait(t, startWithin, func() error { return gone(pid, dir) })
	}
}

// gone says what is left of a server.
func gone(pid int, dir string) error {
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d is still there: %v", pid, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("directory %s is still there: %v", dir, err)
	}
	return nil
}

func TestServerEndsWithItsTest(t *testing.T) {
	var k *keeper
	var pid int
	t.Run("inner", func(t *testing.T) {
		s := StartRedis(t)
		k, pid = s.keeper, s.keeper.pid
		s.Stop() // a frozen server ends as well
	})
	if k == nil {
		t.Skip("no server")
	}
	if err := gone(pid, k.dir); err != nil {
		t.Error(err)
	}
}

func TestFailedStartSaysWhy(t *testing.T) {
	_, err := findRedis()
	must(t, err)
	begin := time.Now()
	_, err = startRedis("--no-such-option", "yes")
	if err == nil || !strings.Contains(err.Error(), "Bad directive") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > startWithin/2 {
		t.Errorf("only after %v", took)
	}
}

func TestTakenPortIsNoticed(t *testing.T) {
	s := StartRedis(t)
	k, err := newKeeper("KILL", nil)
	must(t, err)
	t.Cleanup(k.close)
	other := &RedisServer{tb: t, keeper: k, port: s.port}
	if err := other.start(); err == nil || !strings.Contains(err.Error(), portTaken) {
		t.Errorf("got %v", err)
	}
}

func TestRedisMajor(t *testing.T) {
	for text, want := range map[string]int{
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64": 7,
		"Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64": 8,
		"Redis server v=6.2.14 sha=00000000:1":                               6,
		"Redis server v=10.0.0 sha=00000000:1":                               10,
		"something else":                                                     0,
	} {
		if got := redisMajor(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

package servers

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

func TestMain(m *testing.M) {
	code := m.Run()
	CloseAll()
	os.Exit(code)
}

// must ends the test if err is not nil, and skips it where the server is not installed,
// except under CI, where that would hide that nothing was tested.
func must(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}

// doomed tells the test process that it is the child of TestNothingOutlivesAKill.
const doomed = "PROJECTORD_TEST_DOOMED"

// awaitKill is what the child does: it starts servers, says so and waits for its
// end.
func awaitKill(t *testing.T) {
	_, err := StartRedis()
	must(t, err)
	_, err = StartPostgres()
	must(t, err)
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
	_, err := FindRedis()
	must(t, err)
	_, err = FindPostgres()
	must(t, err)

	child := exec.Command(os.Args[0], "-test.run=^TestNothingOutlivesAKill$")
	child.Env = append(os.Environ(), doomed+"=1")
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
		must(t, Poll(startWithin, func() error { return gone(pid, dir) }))
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

func TestCloseLeavesNothing(t *testing.T) {
	s, err := StartRedis()
	must(t, err)
	pid, dir := s.keeper.pid, s.keeper.dir
	must(t, s.Stop()) // a frozen server ends as well
	s.Close()
	if err := gone(pid, dir); err != nil {
		t.Error(err)
	}
}

func TestFailedStartSaysWhy(t *testing.T) {
	_, err := FindRedis()
	must(t, err)
	begin := time.Now()
	_, err = StartRedis("--no-such-option", "yes")
	if err == nil || !strings.Contains(err.Error(), "Bad directive") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > startWithin/2 {
		t.Errorf("only after %v", took)
	}
}

func TestTakenPortIsNoticed(t *testing.T) {
	s, err := StartRedis()
	must(t, err)
	t.Cleanup(s.Close)
	k, err := newKeeper("KILL", nil)
	must(t, err)
	t.Cleanup(k.close)
	other := &Redis{keeper: k, port: s.port}
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

package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// startSentinel runs a Sentinel that watches a master under the name "main".
func startSentinel(t *testing.T, program, master string) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(addr)
	host, masterPort, _ := net.SplitHostPort(master)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main %s %s 1\n", port, filepath.Dir(config), host, masterPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := exec.Command(program, config, "--sentinel")
	if err := sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sentinel.Process.Kill()
		sentinel.Wait()
	})
	return addr
}

// The Sentinels name another master while the old one is cut off from them: it goes on
// taking itself for the master, and answers. Once the client has left it, no connection
// to it is used any more, neither an idle one nor one that is lent.
func TestFailover(t *testing.T) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("a Sentinel needs redis-server on the PATH:", err)
	}
	// Under other names the Sentinel cannot make it a replica, nor kill its clients.
	old := testenv.StartRedis(t, "--repl-diskless-sync-delay", "0",
		"--rename-command", "REPLICAOF", "OLD.REPLICAOF", "--rename-command", "SLAVEOF", "OLD.SLAVEOF")
	host, port, _ := net.SplitHostPort(old.Addr())
	next := testenv.StartRedis(t, "--replicaof", host, port)
	addr := startSentinel(t, program, old.Addr())
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: addr})
	defer sentinel.Close()

	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{addr}, PoolSize: 20})
	defer client.Close()
	testenv.Wait(t, waitLong, func() error { return client.Ping(t.Context()).Err() })
	pool := NewPool(client)
	defer pool.dropIdle()
	lent, idle := get(t, pool), get(t, pool)
	idle.Release()
	served := func(c *Conn) string {
		text := ask(t, c, "INFO", "server")
		_, text, _ = strings.Cut(text, "tcp_port:")
		text, _, _ = strings.Cut(text, "\r")
		return net.JoinHostPort("127.0.0.1", text)
	}
	if err := lent.Check(t.Context()); err != nil || served(lent) != old.Addr() {
		t.Fatalf("reads from %s before the failover, %v", served(lent), err)
	}

	testenv.Wait(t, waitLong, func() error { return sentinel.Failover(t.Context(), "main").Err() })
	testenv.Wait(t, waitLong, func() error {
		if info := client.Info(t.Context(), "server").Val(); !strings.Contains(info, "tcp_port:"+next.Addr()[len("127.0.0.1:"):]+"\r") {
			return errors.New("the client has not left the old master")
		}
		return nil
	})
	if role := old.Client(t).Do(t.Context(), "ROLE").String(); !strings.Contains(role, "master") {
		t.Fatalf("the old master was told: %s", role)
	}
	if served(lent) != old.Addr() {
		t.Fatal("the connection that is lent is dead: that shows nothing")
	}
	if err := lent.Check(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection that is lent: %v", err)
	}
	c := get(t, pool)
	if got := served(c); got != next.Addr() {
		t.Errorf("reads from %s, the master is %s", got, next.Addr())
	}
	c.Release()
	lent.Discard()
}

// What is lent or idle takes at most half of the connections of a client of Sentinels,
// rounded up.
func TestFailoverLeavesConnections(t *testing.T) {
	for size, want := range map[int][2]int{1: {1, 0}, 2: {1, 0}, 3: {2, 0}, 10: {5, 2}, 1000: {500, maxIdle}} {
		client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", PoolSize: size})
		pool := NewPool(client)
		if cap(pool.turns) != want[0] || pool.keep != want[1] {
			t.Errorf("of %d connections %d may be lent and %d idle", size, cap(pool.turns), pool.keep)
		}
		client.Close()
	}
}

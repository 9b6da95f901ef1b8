package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.NoLeaks)
}

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

// connect returns a client of the server with other options, and a pool of its own.
func connect(t *testing.T, url string, change func(*redis.Options)) (*redis.Client, *Pool) {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	change(options)
	client := redis.NewClient(options)
	pool := NewPool(client)
	t.Cleanup(func() {
		pool.dropIdle()
		client.Close()
	})
	return client, pool
}

func get(t *testing.T, p *Pool) *Conn {
	t.Helper()
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a command and returns the first line of its reply, or the text where that is
// a bulk string.
func ask(t *testing.T, c *Conn, args ...string) string {
	t.Helper()
	if _, err := c.Send(AppendCommand(nil, args...), false); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(line, "$%d", &n); err == nil && n >= 0 {
		text := make([]byte, n+2)
		for at := 0; at < len(text); {
			more, err := r.Read(text[at:])
			if err != nil {
				t.Fatal(err)
			}
			at += more
		}
		return string(text[:n])
	}
	if r.Buffered() > 0 {
		t.Fatalf("%q and more", line)
	}
	return strings.TrimSpace(line)
}

// A connection is what the client's own are: of the same user, database and name. Its
// protocol is the one in which nothing comes that was not asked for.
func TestHandshake(t *testing.T) {
	server := testenv.StartRedis(t, "--requirepass", "secret", "--databases", "4")
	greeted := 0
	for name, change := range map[string]func(*redis.Options){
		"Defaults": func(*redis.Options) {},
		"Provider": func(o *redis.Options) {
			o.Username, o.Password = "", ""
			o.CredentialsProvider = func() (string, string) { return "default", "secret" }
		},
		"NoTimeouts":  func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -1 },
		"NoDeadlines": func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -2, -2 },
		"SmallPool":   func(o *redis.Options) { o.PoolSize, o.MinIdleConns, o.MaxActiveConns = 1, 1, 1 },
		"OnConnect": func(o *redis.Options) {
			o.OnConnect = func(context.Context, *redis.Conn) error { greeted++; return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.URL()
			_, pool := connect(t, url, func(o *redis.Options) {
				o.Password, o.DB, o.ClientName = "secret", 3, "reader"
				change(o)
			})
			c := get(t, pool)
			defer c.Release()
			info := ask(t, c, "CLIENT", "INFO")
			for _, want := range []string{" name=reader ", " db=3 ", " user=default ", " resp=2"} {
				if !strings.Contains(info, want) {
					t.Errorf("no %q in %s", want, info)
				}
			}
		})
	}
	if greeted != 2 {
		t.Errorf("OnConnect was called %d times, for the client's connection and this one", greeted)
	}
}

func TestEmbedded(t *testing.T) {
	pool := NewPool(testenv.Embedded(t))
	defer pool.dropIdle()
	c := get(t, pool)
	if got := ask(t, c, "ECHO", "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	c.Release()
}

// A client that cannot connect, or was closed, has no connections to read from either.
func TestRefused(t *testing.T) {
	server := testenv.StartRedis(t, "--requirepass", "secret")
	_, pool := connect(t, server.URL(), func(o *redis.Options) { o.Password, o.MaxRetries = "wrong", -1 })
	if _, err := pool.Get(t.Context()); !redis.HasErrorPrefix(err, "WRONGPASS") {
		t.Errorf("with a wrong password: %v", err)
	}
	client, pool := connect(t, server.URL(), func(o *redis.Options) { o.Password = "secret" })
	client.Close()
	if _, err := pool.Get(t.Context()); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("by a closed client: %v", err)
	}
	if !pool.Unused() {
		t.Error("a turn was not given back")
	}
}

func TestIdleConnections(t *testing.T) {
	client, pool := connect(t, testenv.RedisURL(t), func(o *redis.Options) { o.ClientName = testenv.Namespace(t) })
	connected := func() int {
		return strings.Count(client.ClientList(t.Context()).Val(), " name="+client.Options().ClientName+" ")
	}
	c := get(t, pool)
	id := ask(t, c, "CLIENT", "ID")
	c.Release()
	c = get(t, pool)
	if again := ask(t, c, "CLIENT", "ID"); again != id {
		t.Errorf("connection %s after %s: it was not kept", again, id)
	}

	// One that failed takes along those that are idle.
	other := get(t, pool)
	other.Release()
	c.Discard()
	if len(pool.idle) != 0 {
		t.Errorf("%d are idle", len(pool.idle))
	}
	testenv.Wait(t, waitLong, func() error {
		if n := connected(); n != 1 {
			return fmt.Errorf("%d connections, the client's own among them", n)
		}
		return nil
	})

	// What nobody uses for a while closes; what is used stays.
	young, old := get(t, pool), get(t, pool)
	old.Release()
	young.Release()
	pool.mu.Lock()
	old.idle = old.idle.Add(-idleFor)
	pool.mu.Unlock()
	pool.closeIdle()
	testenv.Wait(t, waitLong, func() error {
		if n := connected(); n != 2 {
			return fmt.Errorf("%d connections, the client's own among them", n)
		}
		return nil
	})
	if pool.cleanup == nil {
		t.Error("nothing will close the other one")
	}
	pool.dropIdle()
	pool.closeIdle()
	if !pool.Unused() || pool.cleanup != nil {
		t.Error("the pool is in use")
	}
}

// As many connections are lent as there may be; who wants more waits.
func TestTurns(t *testing.T) {
	const most = 40
	_, pool := connect(t, testenv.RedisURL(t), func(o *redis.Options) {
		o.PoolTimeout, o.PoolSize = 10*time.Millisecond, most
	})
	var lent []*Conn
	for range most {
		lent = append(lent, get(t, pool))
	}
	if _, err := pool.Get(t.Context()); !errors.Is(err, redis.ErrPoolTimeout) {
		t.Errorf("one too many: %v", err)
	}
	for _, c := range lent {
		c.Release()
	}
	if len(pool.idle) != maxIdle {
		t.Errorf("%d are kept", len(pool.idle))
	}
	get(t, pool).Release()
}

// As many are lent and kept as the client may have of its own, for each server.
func TestPoolSize(t *testing.T) {
	for _, c := range []struct{ size, active, lend, keep int }{
		{1, 0, 1, 1}, {2, 2, 2, 2}, {200, 0, 200, maxIdle}, {200, 20, 20, maxIdle}, {20, 200, 20, maxIdle},
	} {
		_, pool := connect(t, testenv.RedisURL(t), func(o *redis.Options) { o.PoolSize, o.MaxActiveConns = c.size, c.active })
		if cap(pool.turns) != c.lend || pool.keep != c.keep {
			t.Errorf("PoolSize %d, MaxActiveConns %d: %d may be lent and %d idle", c.size, c.active, cap(pool.turns), pool.keep)
		}
	}
}

// What is idle is not lent any more once the client was closed, and closes.
func TestClientClosed(t *testing.T) {
	client, pool := connect(t, testenv.RedisURL(t), func(*redis.Options) {})
	get(t, pool).Release()
	// One that has no connections just then is not closed.
	for client.PoolStats().TotalConns > 0 {
		c := client.Conn()
		if err := c.Do(t.Context(), "CLIENT", "KILL", "ID", c.ClientID(t.Context()).Val(), "SKIPME", "no").Err(); err != nil {
			t.Fatal(err)
		}
		c.Ping(t.Context())
		c.Close()
	}
	get(t, pool).Release()
	client.Close()
	if _, err := pool.Get(t.Context()); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if !pool.Unused() {
		t.Error("connections were kept")
	}
}

// A context that ends cuts a read that waits, at once, and the connection is not used
// again.
func TestContextEnds(t *testing.T) {
	client, pool := connect(t, testenv.RedisURL(t), func(o *redis.Options) { o.ReadTimeout = waitLong })
	ctx, cancel := context.WithCancel(t.Context())
	c, err := pool.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	key := testenv.Namespace(t)
	if _, err := c.Send(AppendCommand(nil, "BLPOP", key, "0"), false); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 10))
		failed <- err
	}()
	testenv.Wait(t, waitLong, func() error {
		if list := client.ClientList(t.Context()).Val(); !strings.Contains(list, "cmd=blpop") {
			return errors.New("nobody waits")
		}
		return nil
	})
	cancel()
	select {
	case err := <-failed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(waitLong / 2):
		t.Error("the read goes on")
	}
	c.Release() // not even then
	if !pool.Unused() {
		t.Error("the connection was kept")
	}
}

// Who does not give a connection back after the context of its use has ended keeps others
// from none: it is closed, and its turn is free.
func TestContextEndsAndNobodyReleases(t *testing.T) {
	_, pool := connect(t, testenv.RedisURL(t), func(o *redis.Options) { o.PoolSize, o.PoolTimeout = 1, waitLong })
	ctx, cancel := context.WithCancel(t.Context())
	kept, err := pool.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	next := get(t, pool)
	if _, err := kept.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("the connection that was kept: %v", err)
	}
	// When it comes back after all, it does not take a turn along that is another's.
	kept.Discard()
	if len(pool.turns) != 1 {
		t.Errorf("%d turns are taken", len(pool.turns))
	}
	if got := ask(t, next, "ECHO", "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	next.Release()
}

func TestServerHangs(t *testing.T) {
	server := testenv.StartRedis(t)
	_, pool := connect(t, server.URL(), func(o *redis.Options) { o.ReadTimeout = 50 * time.Millisecond })
	c := get(t, pool)
	server.Stop()
	defer server.Continue()
	if _, err := c.Send(AppendCommand(nil, "PING"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	c.Discard()
}

// Commands that are sent while replies are outstanding do not wait for those to be read,
// however many bytes they have: a server that writes may not read meanwhile.
func TestSendWhileRepliesAreOutstanding(t *testing.T) {
	near, far := net.Pipe() // holds nothing: each byte written waits for its reader
	_, pool := connect(t, testenv.RedisURL(t), func(o *redis.Options) {})
	c := &Conn{pool: pool, conn: near}
	pool.turns <- struct{}{}
	c.lend(t.Context())
	for range 2 {
		if _, err := c.Send(make([]byte, 1000), true); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 2000)
	for at := 0; at < len(got); {
		n, err := far.Read(got[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	// Where that fails, who waits for the replies hears why.
	if _, err := c.Send(make([]byte, 1000), true); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := c.Read(got); err == nil {
		t.Error("no error")
	}
	c.Discard()
	if len(pool.turns) != 0 {
		t.Error("the turn was not given back")
	}
}

// Bytes that came behind the reply of PING would be in a buffer of go-redis, and missed.
func TestTakeOver(t *testing.T) {
	for reply, taken := range map[string]bool{
		"":                     false,
		"PONG\r\n":             false,
		"+PONG\r\n-":           false,
		"+PONG\r\n+OK\r\n":     false,
		"+PONG\r\n":            true,
		"$1\r\nx\r\n+PONG\r\n": true,
	} {
		near, far := net.Pipe()
		go far.Write([]byte(reply))
		c := &captured{Conn: near}
		for at := 0; at < len(reply); {
			n, err := c.Read(make([]byte, 3))
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		conn, err := c.takeOver()
		if taken != (err == nil) || taken && conn != near {
			t.Errorf("after %q: %v", reply, err)
		}
		c.Close() // as go-redis closes its clients' connections
		if err := near.SetDeadline(time.Time{}); taken != (err == nil) {
			t.Errorf("after %q and Close: %v", reply, err)
		}
		near.Close()
		far.Close()
	}
}

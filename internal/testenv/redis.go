package testenv

import (
	"os"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/servers"
)

// RedisServer is a Redis of one test, which may break it. Its methods are safe
// for concurrent use; an error fails the test without ending it, as faults may come from
// any goroutine.
type RedisServer struct {
	tb     testing.TB
	server *servers.Redis
}

// StartRedis runs a private server until the end of the test. The arguments are
// added to its command line, one word each, as in
// StartRedis(tb, "--replicaof", "127.0.0.1", "6379"). It persists nothing unless
// told to.
func StartRedis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	s, err := servers.StartRedis(args...)
	must(tb, err)
	tb.Cleanup(s.Close)
	return &RedisServer{tb, s}
}

// RedisAOF runs a private server that has every write on disk before it answers,
// so that what it confirmed survives [RedisServer.Kill] and
// [RedisServer.Restart].
func RedisAOF(tb testing.TB) *RedisServer {
	tb.Helper()
	return StartRedis(tb, "--appendonly", "yes", "--appendfsync", "always")
}

// Addr returns the host and port the server listens on.
func (s *RedisServer) Addr() string { return s.server.Addr() }

// URL returns the address in the form redis.ParseURL reads, with the password if
// the server was started with --requirepass.
func (s *RedisServer) URL() string { return s.server.URL() }

// Client returns a client of the server, closed at the end of the test.
func (s *RedisServer) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	return client(tb, s.URL())
}

// Kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (s *RedisServer) Kill() {
	s.tb.Helper()
	report(s.tb, s.server.Kill())
}

// Stop freezes the server (SIGSTOP): connections stay open and nothing answers.
func (s *RedisServer) Stop() {
	s.tb.Helper()
	report(s.tb, s.server.Stop())
}

// Continue ends a Stop.
func (s *RedisServer) Continue() {
	s.tb.Helper()
	report(s.tb, s.server.Continue())
}

// Restart kills the server if it runs, and starts it again on the same port and
// with the files it left, as after a crash.
func (s *RedisServer) Restart() {
	s.tb.Helper()
	report(s.tb, s.server.Restart())
}

// report fails the test without ending it.
func report(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Error(err)
	}
}

// sharedRedis is the server of all tests of this process that do not break it.
var sharedRedis = sync.OnceValues(func() (string, error) {
	if address := os.Getenv("PROJECTORD_TEST_REDIS_URL"); address != "" {
		return address, nil
	}
	s, err := servers.StartRedis()
	if err != nil {
		return "", err
	}
	return s.URL(), nil
})

// RedisURL returns the URL of a Redis that all tests of the process share.
func RedisURL(tb testing.TB) string {
	tb.Helper()
	address, err := sharedRedis()
	must(tb, err)
	return address
}

// Redis returns a client of the shared Redis, closed at the end of the test.
func Redis(tb testing.TB) *redis.Client {
	tb.Helper()
	return client(tb, RedisURL(tb))
}

// Embedded returns a client of an embedded server of its own; both are closed at
// the end of the test.
func Embedded(tb testing.TB) *redis.Client {
	tb.Helper()
	server, err := embedded.Start()
	must(tb, err)
	tb.Cleanup(server.Close)
	return client(tb, server.URL())
}

// client returns a client that never sends a command twice by itself: a test
// must see the failures it makes.
func client(tb testing.TB, address string) *redis.Client {
	tb.Helper()
	options, err := redis.ParseURL(address)
	must(tb, err)
	options.MaxRetries = -1
	options.DisableIdentity = true
	options.Protocol = 2
	c := redis.NewClient(options)
	tb.Cleanup(func() { c.Close() })
	return c
}

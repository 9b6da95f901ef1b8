package testenv

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/embedded"
)

var redisWords = logWords{
	ready:  regexp.MustCompile("Ready to accept connections"),
	failed: regexp.MustCompile("FATAL|aborting|exiting"),
}

// portTaken is in the log of any server that finds its port in use.
const portTaken = "Address already in use"

// RedisServer is a Redis of one test, which may break it. Its methods are safe
// for concurrent use.
type RedisServer struct {
	tb     testing.TB // nil for a server the whole process shares
	keeper *keeper
	port   int
	args   []string
}

// StartRedis runs a private server until the end of the test. The arguments are
// added to its command line, one word each, as in
// StartRedis(tb, "--replicaof", "127.0.0.1", "6379"). It persists nothing unless
// told to.
func StartRedis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	s, err := startRedis(args...)
	must(tb, err)
	s.tb = tb
	tb.Cleanup(s.keeper.close)
	return s
}

// RedisAOF runs a private server that has every write on disk before it answers,
// so that what it confirmed survives [RedisServer.Kill] and
// [RedisServer.Restart].
func RedisAOF(tb testing.TB) *RedisServer {
	tb.Helper()
	return StartRedis(tb, "--appendonly", "yes", "--appendfsync", "always")
}

func startRedis(args ...string) (*RedisServer, error) {
	k, err := newKeeper("KILL", nil)
	if err != nil {
		return nil, err
	}
	s := &RedisServer{keeper: k, args: args}
	for range 5 {
		if s.port, err = freePort(); err != nil {
			break
		}
		err = s.start()
		if err == nil || !strings.Contains(err.Error(), portTaken) {
			break
		}
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return s, nil
}

func (s *RedisServer) start() error {
	path, err := findRedis()
	if err != nil {
		return err
	}
	command := []string{
		path, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.keeper.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "",
		"--repl-diskless-sync-delay", "0", // else a replica waits 5 s for others to come
	}
	return s.keeper.start(redisWords, append(command, s.args...)...)
}

// Addr returns the host and port the server listens on.
func (s *RedisServer) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL returns the address in the form redis.ParseURL reads, with the password if
// the server was started with --requirepass.
func (s *RedisServer) URL() string {
	address := url.URL{Scheme: "redis", Host: s.Addr()}
	if i := slices.Index(s.args, "--requirepass"); i >= 0 {
		address.User = url.UserPassword("", s.args[i+1])
	}
	return address.String()
}

// Client returns a client of the server, closed at the end of the test.
func (s *RedisServer) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	return client(tb, s.URL())
}

// Kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (s *RedisServer) Kill() {
	s.tb.Helper()
	s.report(s.keeper.kill())
}

// Stop freezes the server (SIGSTOP): connections stay open and nothing answers.
func (s *RedisServer) Stop() {
	s.tb.Helper()
	s.report(s.signal(syscall.SIGSTOP))
}

// Continue ends a Stop.
func (s *RedisServer) Continue() {
	s.tb.Helper()
	s.report(s.signal(syscall.SIGCONT))
}

// Restart kills the server if it runs, and starts it again on the same port and
// with the files it left, as after a crash.
func (s *RedisServer) Restart() {
	s.tb.Helper()
	s.Kill()
	s.report(s.start())
}

func (s *RedisServer) signal(signal syscall.Signal) error {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	return s.keeper.signal(signal)
}

// report fails the test without ending it: faults may come from any goroutine.
func (s *RedisServer) report(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Error(err)
	}
}

// sharedRedis is the server of all tests of this process that do not break it.
var sharedRedis = sync.OnceValues(func() (string, error) {
	if address := os.Getenv("PROJECTORD_TEST_REDIS_URL"); address != "" {
		return address, nil
	}
	s, err := startRedis()
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

// Package testenv gives tests the real servers of package servers: Redis alone, as a
// cluster or with faults, and Postgres. They are started when the first test asks, and
// never outlive the test process.
//
// A test whose server is not installed is skipped, or fails if CI=true is set.
// These variables point at something other than what would be found:
//
//	PROJECTORD_TEST_REDIS_SERVER  the redis-server or valkey-server program
//	PROJECTORD_TEST_POSTGRES_BIN  the directory with initdb and postgres
//	PROJECTORD_TEST_REDIS_URL     a running Redis, for [Redis] and [RedisURL]
//	PROJECTORD_TEST_POSTGRES_URL  a running Postgres, for [Postgres]
package testenv

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/projectord/projectord/internal/servers"
)

// Main runs the tests of a package and stops the servers they used; call it from
// TestMain. If the tests pass, the checks run after them (a search for leaked
// goroutines, say), and an error from one makes the run fail.
//
// A package that leaves Main out still leaves no server behind, but its process
// ends before they have stopped.
func Main(m *testing.M, checks ...func() error) {
	// What go-redis logs is about the failures that tests make.
	logging.Disable()
	code := m.Run()
	servers.CloseAll()
	for _, check := range checks {
		if code != 0 {
			break
		}
		if err := check(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// must ends the test if err is not nil. A test whose server is not installed is
// skipped, except under CI, where that would hide that nothing was tested.
func must(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, servers.ErrMissing) && os.Getenv("CI") != "true":
		tb.Skipf("%v: run `make setup` to install what the tests need", err)
	case errors.Is(err, servers.ErrMissing):
		tb.Fatalf("%v: run `make setup` to install what the tests need", err)
	default:
		tb.Fatal(err)
	}
}

// Namespace returns a namespace no other test has: tests share servers, and keep
// apart by their keys.
func Namespace(tb testing.TB) string {
	tb.Helper()
	return "t" + randomHex()
}

func randomHex() string {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// Package testenv gives tests real servers: Redis alone, as a cluster or with
// faults, and Postgres. They are found on the machine (see scripts/setup.sh), are
// started when the first test asks, on free ports of 127.0.0.1 and with data of
// their own, and never outlive the test process.
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
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"
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
	closeKeepers()
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

package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/servers"
)

// Postgres returns the URL of a new, empty database for this test, which is
// dropped at its end, open connections or not. The server is shared by all tests
// of the process and has fsync off: it survives no power failure.
func Postgres(tb testing.TB) string {
	tb.Helper()
	server, err := sharedPostgres()
	must(tb, err)
	name := "t" + randomHex()
	must(tb, execute(server, "CREATE DATABASE "+name))
	tb.Cleanup(func() {
		if err := execute(server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Error(err)
		}
	})
	address, err := url.Parse(server)
	must(tb, err)
	address.Path = "/" + name
	return address.String()
}

// execute runs one statement on a connection of its own.
func execute(address, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("testenv: %s: %w", statement, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("testenv: %s: %w", statement, err)
	}
	return nil
}

// sharedPostgres returns the URL of the maintenance database of the server.
var sharedPostgres = sync.OnceValues(func() (string, error) {
	if address := os.Getenv("PROJECTORD_TEST_POSTGRES_URL"); address != "" {
		return address, nil
	}
	s, err := servers.StartPostgres()
	if err != nil {
		return "", err
	}
	return s.URL(), nil
})

// PostgresServer is a Postgres of one test, which may break it. Its methods are
// safe for concurrent use.
type PostgresServer struct {
	tb     testing.TB
	server *servers.Postgres
}

// StartPostgres runs a private server until the end of the test. The arguments are
// added to its command line, one word each, as in
// StartPostgres(tb, "-c", "max_connections=10"). What it confirmed survives
// [PostgresServer.Kill], but no power failure: fsync is off.
func StartPostgres(tb testing.TB, args ...string) *PostgresServer {
	tb.Helper()
	s, err := servers.StartPostgres(args...)
	must(tb, err)
	tb.Cleanup(s.Close)
	return &PostgresServer{tb, s}
}

// URL returns the address of the maintenance database.
func (s *PostgresServer) URL() string { return s.server.URL() }

// Kill ends the server as a crash would (SIGQUIT, "immediate") and waits until it
// is gone, with all its backends.
func (s *PostgresServer) Kill() {
	s.tb.Helper()
	report(s.tb, s.server.Kill())
}

// Restart kills the server if it runs, and starts it again on the same port and
// with the files it left, as after a crash.
func (s *PostgresServer) Restart() {
	s.tb.Helper()
	report(s.tb, s.server.Restart())
}

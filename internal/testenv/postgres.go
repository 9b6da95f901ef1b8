package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresWords are English because the keeper sets the locale.
var postgresWords = logWords{
	ready:  regexp.MustCompile("database system is ready to accept connections"),
	failed: regexp.MustCompile("FATAL|PANIC"),
}

// postgresAgainWords are for a server that has clients already: it tells them
// that it is FATAL to be early.
var postgresAgainWords = logWords{
	ready:  postgresWords.ready,
	failed: regexp.MustCompile("PANIC|" + portTaken),
}

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
	s, err := startPostgres()
	if err != nil {
		return "", err
	}
	return s.URL(), nil
})

// PostgresServer is a Postgres of one test, which may break it. Its methods are
// safe for concurrent use.
type PostgresServer struct {
	tb     testing.TB // nil for a server the whole process shares
	keeper *keeper
	bin    string
	port   int
	args   []string
}

// StartPostgres runs a private server until the end of the test. The arguments are
// added to its command line, one word each, as in
// StartPostgres(tb, "-c", "max_connections=10"). What it confirmed survives
// [PostgresServer.Kill], but no power failure: fsync is off.
func StartPostgres(tb testing.TB, args ...string) *PostgresServer {
	tb.Helper()
	s, err := startPostgres(args...)
	must(tb, err)
	s.tb = tb
	tb.Cleanup(s.keeper.close)
	return s
}

// startPostgres creates a cluster in the directory of a keeper and serves it.
func startPostgres(args ...string) (*PostgresServer, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	as, err := postgresUser()
	if err != nil {
		return nil, err
	}
	// At SIGQUIT Postgres stops at once, like at SIGKILL, but still gives back the
	// shared memory it took from the system.
	k, err := newKeeper("QUIT", as)
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{keeper: k, bin: bin, args: args}
	err = k.finish(filepath.Join(bin, "initdb"), "--pgdata", filepath.Join(k.dir, "data"), "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	for range 5 {
		if err != nil {
			break
		}
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.start(postgresWords); err == nil {
			return s, nil
		}
		if strings.Contains(err.Error(), portTaken) {
			err = nil
		}
	}
	if err == nil {
		err = fmt.Errorf("testenv: Postgres found every port taken")
	}
	k.close()
	return nil, err
}

func (s *PostgresServer) start(words logWords) error {
	command := []string{
		filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.keeper.dir, "data"), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200",
	}
	return s.keeper.start(words, append(command, s.args...)...)
}

// URL returns the address of the maintenance database.
func (s *PostgresServer) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Kill ends the server as a crash would (SIGQUIT, "immediate") and waits until it
// is gone, with all its backends.
func (s *PostgresServer) Kill() {
	s.tb.Helper()
	k := s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.running {
		return
	}
	err := k.signal(syscall.SIGQUIT)
	if err == nil {
		_, err = k.wait()
	}
	if err != nil {
		s.tb.Error(err)
	}
}

// Restart kills the server if it runs, and starts it again on the same port and
// with the files it left, as after a crash.
func (s *PostgresServer) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.start(postgresAgainWords); err != nil {
		s.tb.Error(err)
	}
}

// postgresUser returns whom to run Postgres as, since it refuses to run as root;
// nil means as the user of this process.
func postgresUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if err1 == nil && err2 == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
			}
		}
	}
	return nil, fmt.Errorf("testenv: Postgres does not run as root, and there is no user postgres or nobody to run it as")
}

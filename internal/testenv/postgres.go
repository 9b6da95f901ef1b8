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
	bin, err := findPostgres()
	if err != nil {
		return "", err
	}
	as, err := postgresUser()
	if err != nil {
		return "", err
	}
	// At SIGQUIT Postgres stops at once, like at SIGKILL, but still gives back the
	// shared memory it took from the system.
	k, err := newKeeper("QUIT", as)
	if err != nil {
		return "", err
	}
	port, err := runPostgres(k, bin)
	if err != nil {
		k.close()
		return "", err
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), nil
})

// runPostgres creates a cluster in the directory of the keeper and serves it.
func runPostgres(k *keeper, bin string) (port int, err error) {
	data := filepath.Join(k.dir, "data")
	err = k.finish(filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if err != nil {
		return 0, err
	}
	for range 5 {
		if port, err = freePort(); err != nil {
			return 0, err
		}
		err = k.start(postgresWords, filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port),
			"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200")
		if err == nil || !strings.Contains(err.Error(), portTaken) {
			return port, err
		}
	}
	return 0, err
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

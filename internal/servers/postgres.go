package servers

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
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

// Postgres is a Postgres of one's own, which may be broken. Its methods are safe for
// concurrent use.
type Postgres struct {
	keeper *keeper
	bin    string
	port   int
	args   []string
}

// StartPostgres runs a server until it is closed. The arguments are added to its command
// line, one word each, as in StartPostgres("-c", "max_connections=10"). What it confirmed
// survives [Postgres.Kill], but no power failure: fsync is off unless the arguments say
// otherwise. Where no server is installed, the error wraps [ErrMissing].
func StartPostgres(args ...string) (*Postgres, error) {
	bin, err := FindPostgres()
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
	s := &Postgres{keeper: k, bin: bin, args: args}
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
		err = fmt.Errorf("servers: Postgres found every port taken")
	}
	k.close()
	return nil, err
}

func (s *Postgres) start(words logWords) error {
	command := []string{
		filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.keeper.dir, "data"), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200",
	}
	return s.keeper.start(words, append(command, s.args...)...)
}

// URL returns the address of the maintenance database.
func (s *Postgres) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// PID returns the process id of the server, which is the parent of those that serve
// connections.
func (s *Postgres) PID() int {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	return s.keeper.pid
}

// Close ends the server and removes what it left.
func (s *Postgres) Close() { s.keeper.close() }

// Kill ends the server as a crash would (SIGQUIT, "immediate") and waits until it
// is gone, with all its backends.
func (s *Postgres) Kill() error {
	k := s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.running {
		return nil
	}
	if err := k.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	_, err := k.wait()
	return err
}

// Restart kills the server if it runs, and starts it again on the same port and
// with the files it left, as after a crash.
func (s *Postgres) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.start(postgresAgainWords)
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
	return nil, fmt.Errorf("servers: Postgres does not run as root, and there is no user postgres or nobody to run it as")
}

package servers

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

var redisWords = logWords{
	ready:  regexp.MustCompile("Ready to accept connections"),
	failed: regexp.MustCompile("FATAL|aborting|exiting"),
}

// portTaken is in the log of any server that finds its port in use.
const portTaken = "Address already in use"

// Redis is a Redis of one's own, which may be broken. Its methods are safe for
// concurrent use.
type Redis struct {
	keeper *keeper
	port   int
	args   []string
}

// StartRedis runs a server until it is closed. The arguments are added to its command
// line, one word each, as in StartRedis("--replicaof", "127.0.0.1", "6379"). It persists
// nothing unless told to. Where no server is installed, the error wraps [ErrMissing].
func StartRedis(args ...string) (*Redis, error) {
	k, err := newKeeper("KILL", nil)
	if err != nil {
		return nil, err
	}
	s := &Redis{keeper: k, args: args}
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

func (s *Redis) start() error {
	path, err := FindRedis()
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

// Close ends the server and removes what it left.
func (s *Redis) Close() { s.keeper.close() }

// Addr returns the host and port the server listens on.
func (s *Redis) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL returns the address in the form redis.ParseURL reads, with the password if
// the server was started with --requirepass.
func (s *Redis) URL() string {
	address := url.URL{Scheme: "redis", Host: s.Addr()}
	if i := slices.Index(s.args, "--requirepass"); i >= 0 {
		address.User = url.UserPassword("", s.args[i+1])
	}
	return address.String()
}

// Kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (s *Redis) Kill() error { return s.keeper.kill() }

// Stop freezes the server (SIGSTOP): connections stay open and nothing answers.
func (s *Redis) Stop() error { return s.signal(syscall.SIGSTOP) }

// Continue ends a Stop.
func (s *Redis) Continue() error { return s.signal(syscall.SIGCONT) }

// Restart kills the server if it runs, and starts it again on the same port and
// with the files it left, as after a crash.
func (s *Redis) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.start()
}

func (s *Redis) signal(signal syscall.Signal) error {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	return s.keeper.signal(signal)
}

package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/testenv"
)

// frozenPostgres is a Postgres of one test whose processes can be stopped: its
// connections stay open, new ones are taken, and nothing answers.
type frozenPostgres struct {
	*testing.T
	url  string
	pids []int // of those that are stopped
}

// freeze stops the server. The process that starts others comes first, so that
// there are no new ones meanwhile, and the one that tells who they are comes last.
func (p *frozenPostgres) freeze() {
	p.Helper()
	conn, err := pgx.Connect(p.Context(), p.url)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { conn.Close(p.Context()) })
	var first int
	if err := conn.QueryRow(p.Context(), `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int`).Scan(&first); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(p.thaw)
	p.stop(first)
	rows, err := conn.Query(p.Context(), "SELECT pid FROM pg_stat_activity ORDER BY pid = pg_backend_pid()")
	if err != nil {
		p.Fatal(err)
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		p.Fatal(err)
	}
	for _, pid := range others {
		p.stop(pid)
	}
}

func (p *frozenPostgres) stop(pid int) {
	p.Helper()
	switch err := syscall.Kill(pid, syscall.SIGSTOP); {
	case err == nil:
		p.pids = append(p.pids, pid)
	case !errors.Is(err, syscall.ESRCH): // it may have ended
		p.Error(err)
	}
}

// thaw has the server go on. Its first process comes last: until then the pids of
// the others cannot be those of anybody else.
func (p *frozenPostgres) thaw() {
	for len(p.pids) > 0 {
		last := len(p.pids) - 1
		_ = syscall.Kill(p.pids[last], syscall.SIGCONT)
		p.pids = p.pids[:last]
	}
}

// endWithin is how long a worker has to end that was told to: a little more than it
// should need, as the machine may be busy.
const endWithin = 8 * time.Second

// endsInTime waits for the worker to end, and returns with what.
func (w *worker) endsInTime() error {
	w.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(endWithin):
		w.Fatalf("the worker has not ended after %s; it says %q, %q", endWithin, w.out.String(), w.err.String())
		return nil
	}
}

// hanging is a worker at work, on servers of its own.
type hanging struct {
	*worker
	redis    *testenv.RedisServer
	postgres *frozenPostgres
	sessions string // pattern of the keys that say which sessions live
}

func startHanging(t *testing.T) *hanging {
	t.Helper()
	h := &hanging{redis: testenv.StartRedis(t), postgres: &frozenPostgres{T: t, url: testenv.StartPostgres(t).URL()}}
	namespace := testenv.Namespace(t)
	h.sessions = "{" + namespace + ":*}:sessions"
	flags := []string{"--redis", h.redis.URL(), "--namespace", namespace}
	h.worker = startWorker(t, append(flags, "--name", "blue", "--postgres", h.postgres.url)...)
	h.begun()
	mustCart(t, append([]string{"import", written(t, "history", generate(16, 3_000).csv)}, flags...)...)
	return h
}

// freezeRedis stops the Redis until the end of the test.
func (h *hanging) freezeRedis() {
	h.Helper()
	h.redis.Stop()
	h.Cleanup(h.redis.Continue)
}

// A worker ends soon after it was told to, whatever hangs, and does not claim to have
// given back what it could not.
func TestRunStopsWhateverHangs(t *testing.T) {
	t.Parallel()
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		h := startHanging(t)
		h.freezeRedis()
		h.terminate()
		if err := h.endsInTime(); err != nil || strings.Contains(h.out.String(), "given back") || !strings.Contains(h.out.String(), "its carts are taken over by others after 3s: ") {
			t.Errorf("the worker ended with %v, and says %q, %q", err, h.out.String(), h.err.String())
		}
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		h := startHanging(t)
		h.postgres.freeze()
		h.terminate()
		if err := h.endsInTime(); err != nil || !strings.Contains(h.out.String(), "and all carts given back") {
			t.Errorf("the worker ended with %v, and says %q, %q", err, h.out.String(), h.err.String())
		}
		if left := h.redis.Client(t).Keys(t.Context(), h.sessions).Val(); len(left) > 0 {
			t.Errorf("the worker claims to have given back, and leaves %v", left)
		}
	})
	t.Run("Both", func(t *testing.T) {
		t.Parallel()
		h := startHanging(t)
		h.postgres.freeze()
		h.freezeRedis()
		h.terminate()
		if err := h.endsInTime(); err != nil || strings.Contains(h.out.String(), "given back") {
			t.Errorf("the worker ended with %v, and says %q, %q", err, h.out.String(), h.err.String())
		}
	})
}

// A second signal ends a worker at once.
func TestRunStoppedTwice(t *testing.T) {
	t.Parallel()
	h := startHanging(t)
	h.freezeRedis()
	h.terminate()
	testenv.Wait(t, waitLong, func() error {
		if text := h.err.String(); !strings.Contains(text, "Ctrl-C again ends it at once") {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
	h.terminate()
	if err := h.endsInTime(); err == nil || strings.Contains(h.out.String(), "has stopped") {
		t.Errorf("the worker ended with %v, and says %q; want the signal to end it", err, h.out.String())
	}
}

// A worker that waits for a server when it begins can be stopped too.
func TestRunStopsWhileConnecting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		flags func(addr string) []string
	}{
		{"Redis", func(addr string) []string { return []string{"--redis", "redis://" + addr} }},
		{"Postgres", func(addr string) []string {
			return []string{"--redis", "redis://" + testenv.Embedded(t).Options().Addr, "--postgres", "postgres://u@" + addr + "/d"}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			w := startWorker(t, test.flags(silent.Addr().String())...)
			conn, err := silent.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			w.terminate()
			if err := w.endsInTime(); err != nil || w.out.String() != "" {
				t.Errorf("the worker ended with %v, and says %q, %q", err, w.out.String(), w.err.String())
			}
		})
	}
}

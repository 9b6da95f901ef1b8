package daemon

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
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

// hangingWorker is a worker at work, on servers of its own.
type hangingWorker struct {
	*process
	redis    *testenv.RedisServer
	postgres *frozenPostgres
	sessions string // pattern of the keys that say which sessions live
}

// leaveWithin is how long such a worker has to give back what it holds.
const leaveWithin = 6 * time.Second

func startHanging(t *testing.T) *hangingWorker {
	t.Helper()
	h := &hangingWorker{redis: testenv.StartRedis(t), postgres: &frozenPostgres{T: t, url: testenv.StartPostgres(t).URL()}}
	f := bare(t, bothApp()).with(env("redis-url")+"="+h.redis.URL(), env("postgres-url")+"="+h.postgres.url)
	h.sessions = "{" + f.namespace + ":*}:sessions"
	h.process = f.startAs(inBoth, words("run --name blue --drain-timeout "+leaveWithin.String())...)
	h.saying("has a session")
	store, err := redisstore.Open(t.Context(), h.redis.Client(t), redisstore.Config{Namespace: f.namespace})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3_000 {
		event, err := shopEvents().Encode(added{"tea", 1})
		if err == nil {
			_, err = store.Append(t.Context(), eventstore.MustStreamID("cart", fmt.Sprint(i)), eventstore.NoStream, event)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// freezeRedis stops the Redis until the end of the test.
func (h *hangingWorker) freezeRedis() {
	h.Helper()
	h.redis.Stop()
	h.Cleanup(h.redis.Continue)
}

// leaves tells the worker to stop, which has to end in time and with a code.
func (h *hangingWorker) leaves(code int) {
	h.Helper()
	begin := time.Now()
	h.signal(syscall.SIGTERM)
	h.wantCode(code)
	if took := time.Since(begin); took > leaveWithin+3*time.Second {
		h.Errorf("it took %s", took)
	}
}

// A worker ends soon after it was told to, whatever hangs, and does not claim to have
// given back what it could not.
func TestRunStopsWhateverHangs(t *testing.T) {
	t.Parallel()
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		h := startHanging(t)
		h.freezeRedis()
		h.leaves(exitLate)
		h.saying("others take it over after 3s")
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		h := startHanging(t)
		h.postgres.freeze()
		h.leaves(exitDone)
		h.saying("the worker has stopped")
		if left := h.redis.Client(t).Keys(t.Context(), h.sessions).Val(); len(left) > 0 {
			t.Errorf("the worker claims to have given back, and leaves %v", left)
		}
	})
	t.Run("Both", func(t *testing.T) {
		t.Parallel()
		h := startHanging(t)
		h.postgres.freeze()
		h.freezeRedis()
		h.leaves(exitLate)
	})
}

// A worker that waits for a server when it begins can be stopped too.
func TestRunStopsWhileConnecting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		setting string
	}{
		{"Redis", env("redis-url") + "=redis://"},
		{"Postgres", env("postgres-url") + "=postgres://u@"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			url := test.setting + silent.Addr().String()
			if test.name == "Postgres" {
				url += "/d"
			}
			p := bare(t, shopApp(1)).with(url, env("connect-timeout")+"=1h").startAs(inBoth, "run")
			conn, err := silent.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			begin := time.Now()
			p.signal(syscall.SIGTERM)
			p.wantCode(exitDone)
			if took := time.Since(begin); took > leaveWithin {
				t.Errorf("it took %s", took)
			}
		})
	}
}

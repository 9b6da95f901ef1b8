package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// running starts a session's heartbeats and returns what Run returns.
func running(t *testing.T, s *Session) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		result <- s.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return result
}

// within fails the test if nothing comes out of the channel.
func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(waitLong):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// A session lives by its heartbeats, and the process thinks it dead before the
// server does.
func TestHeartbeat(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		const ttl = 300 * time.Millisecond
		g := newGroup(t, newLog(t, client, 4))
		m := join(t, g, "worker", ttl)
		s := m.session
		stored := func(p int) time.Time {
			t.Helper()
			text, err := client.HGet(t.Context(), g.log.keys.Sessions(p), s.name).Result()
			if err != nil {
				t.Fatal(err)
			}
			ms, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.UnixMilli(ms) // servers of tests share the clock of the process
		}
		stop := beating(t, m)
		first := stored(0)
		for p := range 4 {
			testenv.Wait(t, waitLong, func() error {
				if !stored(p).After(first.Add(2 * ttl)) {
					return errors.New("no heartbeat extended it")
				}
				return s.Err()
			})
		}
		stop()
		s.mu.Lock()
		local := s.deadline
		s.mu.Unlock()
		for p := range 4 {
			if margin := stored(p).Sub(local); margin < ttl/20 {
				t.Errorf("the process thinks itself dead %v before partition %d does", margin, p)
			}
		}
		within(t, "the deadline", s.Done())
		if time.Now().Before(local) {
			t.Error("the session died before its deadline")
		}
		if _, err := m.Read(t.Context(), []int{0}, 1, 0); !errors.Is(err, ErrFenced) {
			t.Errorf("reading with a dead session: %v", err)
		}
		if err := s.Run(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("running a dead session: %v", err)
		}
	})
}

// Whoever is held for dead by the server stays dead, though it has not noticed
// the time pass, and goes on with a new session.
func TestFenced(t *testing.T) {
	calls := map[string]func(t *testing.T, m *Member, id string) error{
		"Heartbeat": func(t *testing.T, m *Member, _ string) error { return m.session.beat(t.Context()) },
		"Claim": func(t *testing.T, m *Member, id string) error {
			_, err := m.Claim(t.Context(), []Claim{{Stream: "cart-1", Pointers: []string{id}}})
			return err
		},
		"Settle": func(t *testing.T, m *Member, id string) error {
			_, err := m.Settle(t.Context(), []Settlement{{Stream: "cart-1", Version: 1, Pointers: []string{id}}})
			return err
		},
		"Park": func(t *testing.T, m *Member, id string) error {
			_, err := m.Park(t.Context(), "cart-1", []string{id}, Parking{})
			return err
		},
		"Release": func(t *testing.T, m *Member, _ string) error { return m.Release(t.Context(), []string{"cart-1"}) },
		"Sweep": func(t *testing.T, m *Member, _ string) error {
			_, err := m.Sweep(t.Context(), 0, 10)
			return err
		},
	}
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for name, call := range calls {
			for _, how := range []string{"past its deadline", "deleted"} {
				t.Run(name+" "+how, func(t *testing.T) {
					g := newGroup(t, newLog(t, client, 1))
					m := join(t, g, "worker", time.Minute)
					announce(t, g.log, "cart-1")
					pointers := readAll(t, m)
					mustClaim(t, m, pointers...)
					key := g.log.keys.Sessions(0)
					var err error
					if how == "deleted" {
						err = client.HDel(t.Context(), key, m.session.name).Err()
					} else {
						err = client.HSet(t.Context(), key, m.session.name, 1).Err()
					}
					if err != nil {
						t.Fatal(err)
					}
					if err := call(t, m, pointers[0].ID); !errors.Is(err, ErrFenced) {
						t.Fatalf("got %v", err)
					}
					within(t, "the end of the session", m.session.Done())
					if there := client.HExists(t.Context(), key, m.session.name).Val(); there {
						t.Error("the session was not deleted")
					}
					if err := call(t, m, pointers[0].ID); !errors.Is(err, ErrFenced) {
						t.Errorf("again: %v", err)
					}
					if owner := leasesOf(t, g)["cart-1"]; owner != m.session.name || pendingOf(t, g)[m.session.name] != 1 {
						t.Errorf("something was written: the lease is %q's", owner)
					}
					next := join(t, g, "worker", time.Minute)
					if next.session.name == m.session.name {
						t.Error("the new session has the name of the old one")
					}
					claimed, _ := sweepTo(t, next, 1)
					settleClaimed(t, next, claimed)
					nothingLeft(t, g)
				})
			}
		}
	})
}

// A name is registered once, whatever became of its session.
func TestRegisterTwice(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 2))
		m := join(t, g, "worker", time.Minute)
		second := &Session{log: g.log, ttl: time.Minute, partitions: []int{0, 1}, done: make(chan struct{})}
		if err := second.register(t.Context(), m.session.name); !errors.Is(err, errRegistered) {
			t.Errorf("got %v", err)
		}
		if err := m.session.beat(t.Context()); err != nil {
			t.Errorf("the first session noticed: %v", err)
		}
	})
}

// Stopping ends Run without an error; dying ends it with one.
func TestRunEnds(t *testing.T) {
	g := newGroup(t, newLog(t, testenv.Embedded(t), 2))
	stopped := join(t, g, "worker", time.Minute)
	result := running(t, stopped.session)
	if err := stopped.session.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "Run", result); err != nil {
		t.Errorf("stopped: %v", err)
	}
	if err := stopped.session.Err(); !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: Err is %v", err)
	}

	fenced := join(t, g, "worker", 2*time.Second)
	result = running(t, fenced.session)
	if err := g.log.client.HDel(t.Context(), g.log.keys.Sessions(1), fenced.session.name).Err(); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "Run", result); !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "partition 1") {
		t.Errorf("fenced: %v", err)
	}
}

// Scenario 5: while the server hangs the process knows in time that it must take
// itself for dead, though no call returns.
func TestScenario5_ServerHangs(t *testing.T) {
	server := testenv.StartRedis(t)
	g := newGroup(t, newLog(t, server.Client(t), 4))
	const ttl = 500 * time.Millisecond
	m := join(t, g, "worker", ttl)
	result := running(t, m.session)
	server.Stop()
	hung := time.Now()
	within(t, "the deadline", m.session.Done())
	if took := time.Since(hung); took > ttl {
		t.Errorf("it took %v to notice", took)
	}
	server.Continue()
	if err := within(t, "Run", result); !errors.Is(err, ErrFenced) {
		t.Errorf("Run returned %v", err)
	}
	// A server that was away for less than that is no reason to die.
	m = join(t, g, "worker", 10*time.Second)
	result = running(t, m.session)
	server.Restart()
	for range 3 {
		if err := m.session.beat(t.Context()); err != nil && !errors.Is(err, ErrFenced) {
			t.Fatal(err)
		}
	}
	// It persists nothing, so the session is gone for good.
	if err := within(t, "Run", result); !errors.Is(err, ErrFenced) {
		t.Errorf("after losing everything: %v", err)
	}
}

// Scenario 4: a server that restarts with its data ends no session.
func TestScenario4_ServerRestarts(t *testing.T) {
	server := testenv.RedisAOF(t)
	g := newGroup(t, newLog(t, server.Client(t), 4))
	m := join(t, g, "worker", 10*time.Second)
	result := running(t, m.session)
	announce(t, g.log, carts(50)...)
	claimed := mustClaim(t, m, readAll(t, m)...)
	server.Restart()
	settleClaimed(t, m, claimed)
	if err := m.session.beat(t.Context()); err != nil {
		t.Error(err)
	}
	nothingLeft(t, g)
	if err := m.session.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := within(t, "Run", result); err != nil {
		t.Error(err)
	}
}

func TestRegisterRefuses(t *testing.T) {
	l := newLog(t, testenv.Embedded(t), 2)
	for _, c := range []SessionConfig{
		{}, {Worker: "a b"}, {Worker: strings.Repeat("x", 129)}, {Worker: "ü"},
		{Worker: "w", TTL: time.Millisecond}, {Worker: "w", Partitions: []int{2}}, {Worker: "w", Partitions: []int{-1}},
	} {
		if _, err := l.Register(t.Context(), c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// On a cluster each partition has a reader of its own, on a single Redis one reads
// all.
func TestReaders(t *testing.T) {
	for name, want := range map[string]string{"Redis": "[[0 1 2]]", "Cluster": "[[0] [1] [2]]"} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, newLog(t, testenv.Kinds[name](t), 3))
			m := join(t, g, "worker", time.Minute)
			if got := fmt.Sprint(m.session.Readers()); got != want {
				t.Errorf("readers are %s, want %s", got, want)
			}
			if _, err := m.Read(t.Context(), []int{0}, 0, 0); err == nil {
				t.Error("reading 0 pointers was accepted")
			}
			start := time.Now()
			b, err := m.Read(t.Context(), []int{0, 1, 2}, 1, 50*time.Millisecond)
			if err != nil || len(b.Pointers) > 0 || time.Since(start) < 50*time.Millisecond {
				t.Errorf("an empty read gave %+v, %v after %v", b, err, time.Since(start))
			}
			announce(t, g.log, carts(30)...)
			if b, err = m.Read(t.Context(), []int{0, 1, 2}, 2, 50*time.Millisecond); err != nil || len(b.Pointers) != 6 {
				t.Errorf("read %d pointers, %v; want 2 of each partition", len(b.Pointers), err)
			}
		})
	}
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func takeRole(t *testing.T, client redis.UniversalClient, config RoleConfig) *Role {
	t.Helper()
	r, err := AcquireRole(t.Context(), client, config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// keepingRole runs a role until the returned function is called, or the end of
// the test, and returns what Run returns.
func keepingRole(t *testing.T, r *Role) (stop func(), result <-chan error) {
	t.Helper()
	ctx, cancel := contextOf(t)
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		ended <- r.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop, ended
}

// One process has a role, until it gives it back or dies.
func TestRole(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		config := RoleConfig{Namespace: testenv.Namespace(t), Role: "janitor", TTL: 400 * time.Millisecond}
		first := takeRole(t, client, config)
		stop, result := keepingRole(t, first)
		for end := time.Now().Add(2 * config.TTL); time.Now().Before(end); { // longer than the lock of a dead one lives
			if _, err := AcquireRole(t.Context(), client, config); !errors.Is(err, ErrRoleTaken) || !strings.Contains(err.Error(), "janitor") {
				t.Fatalf("the role was given to two: %v", err)
			}
		}
		if err := first.Err(); err != nil {
			t.Errorf("the first process noticed: %v", err)
		}
		takeRole(t, client, RoleConfig{Namespace: config.Namespace, Role: "rebuild"})
		takeRole(t, client, RoleConfig{Namespace: testenv.Namespace(t), Role: "janitor"})

		stop() // the process dies
		if err := <-result; err != nil {
			t.Errorf("Run returned %v", err)
		}
		var second *Role
		testenv.Wait(t, waitLong, func() (err error) {
			second, err = AcquireRole(t.Context(), client, config)
			return err
		})
		for range 2 {
			if err := first.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := second.lock.extend(t.Context()); err != nil {
			t.Errorf("the first process released the second one's role: %v", err)
		}
		if err := first.lock.extend(t.Context()); !errors.Is(err, ErrRoleLost) {
			t.Errorf("the first process extends the second one's role: %v", err)
		}
		for range 2 {
			if err := second.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		config.TTL = time.Minute
		takeRole(t, client, config) // at once
	})
}

// Run says that the role is lost, and does not take it again.
func TestRoleLost(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		config := RoleConfig{Namespace: testenv.Namespace(t), Role: "janitor", TTL: 300 * time.Millisecond}
		r := takeRole(t, client, config)
		_, result := keepingRole(t, r)
		select {
		case <-r.Done():
			t.Fatal("the role is lost from the start")
		default:
		}
		key := keyspace.Role(config.Namespace, "janitor")
		if n, err := client.Del(t.Context(), key).Result(); n != 1 || err != nil {
			t.Fatalf("%d keys deleted, %v", n, err)
		}
		if err := within(t, "Run", result); !errors.Is(err, ErrRoleLost) || errors.Is(err, ErrNameLost) {
			t.Errorf("Run returned %v", err)
		}
		within(t, "Done", r.Done())
		if err := r.Err(); !errors.Is(err, ErrRoleLost) {
			t.Errorf("Err is %v", err)
		}
		if n := client.Exists(t.Context(), key).Val(); n != 0 {
			t.Error("a lost lock was taken again")
		}
	})
}

func TestRoleRefuses(t *testing.T) {
	client := testenv.Embedded(t)
	for _, c := range []RoleConfig{{}, {Role: "a b"}, {Role: strings.Repeat("x", 129)}, {Role: "r", TTL: time.Millisecond}, {Role: "r", Namespace: "No"}} {
		if _, err := AcquireRole(t.Context(), client, c); err == nil || errors.Is(err, ErrRoleTaken) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer nowhere.Close()
	if _, err := AcquireRole(t.Context(), nowhere, RoleConfig{Role: "r"}); err == nil || errors.Is(err, ErrRoleTaken) || !strings.Contains(err.Error(), "is the server running") {
		t.Errorf("without a server: %v", err)
	}
}

// troubles gathers what Tend says.
type troubles struct {
	mu  sync.Mutex
	all []error
}

func (r *troubles) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err)
}

func (r *troubles) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// tended runs Tend until the returned function is called, or the end of the test.
func tended(t *testing.T, l *Log, config TendConfig) (stop func(), ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := contextOf(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Tend(ctx, config)
	}()
	stop = func() {
		t.Helper()
		cancel()
		within(t, "the end of Tend", done)
	}
	t.Cleanup(stop)
	return stop, done
}

// fill leaves pointers in the log that are done with.
func fill(t *testing.T, g *Group, m *Member) {
	t.Helper()
	announce(t, g.log, carts(500)...)
	var settlements []Settlement
	for _, c := range mustClaim(t, m, readAll(t, m)...) {
		head, err := g.log.client.HGet(t.Context(), g.log.keys.Heads(g.log.keys.Partition(c.Stream)), c.Stream).Uint64()
		if err != nil {
			t.Fatal(err)
		}
		settlements = append(settlements, Settlement{Stream: c.Stream, Version: head, Pointers: c.Pointers})
	}
	for _, s := range mustSettle(t, m, settlements...) {
		if s.Result != Done {
			t.Fatalf("settling %s: %+v", s.Stream, s)
		}
	}
}

// trimmed waits until the logs are shorter than they were.
func trimmed(t *testing.T, l *Log) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		for p := range l.Partitions() {
			n, err := l.client.XLen(t.Context(), l.keys.Log(p)).Result()
			if err != nil {
				return err
			}
			if n >= 250 { // Redis keeps blocks of 100
				return fmt.Errorf("the log of partition %d has %d entries", p, n)
			}
		}
		return nil
	})
}

// Of several processes one tends the logs, and another one when it has gone.
func TestTend(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		m := join(t, g, "worker", time.Minute)
		config := TendConfig{Every: 20 * time.Millisecond, TTL: 2 * time.Second}
		var first, second troubles
		config.Failed = first.add
		stop, _ := tended(t, g.log, config)
		fill(t, g, m)
		trimmed(t, g.log)

		// The other one tells when it trims.
		other, err := NewLog(client, g.log.config)
		if err != nil {
			t.Fatal(err)
		}
		other.scripts = newScripts(func(name, source string) string {
			if name == "trim" {
				return "return redis.error_reply('ERR the second one trims')"
			}
			return source
		})
		config.Failed = second.add
		stopOther, ended := tended(t, other, config)
		for end := time.Now().Add(2 * config.TTL); time.Now().Before(end); { // time to ask for the role
			fill(t, g, m)
			trimmed(t, g.log)
		}
		if n := second.count(); n > 0 {
			t.Errorf("both tend the logs: %v", second.all)
		}
		stop()
		testenv.Wait(t, waitLong, func() error {
			if second.count() == 0 {
				return errors.New("nobody tends the logs")
			}
			return nil
		})
		if err := second.all[0]; !strings.Contains(err.Error(), "the second one trims") {
			t.Errorf("the second one failed: %v", err)
		}
		select {
		case <-ended:
			t.Error("a failure ended it")
		default:
		}
		stopOther()
		if n := first.count(); n > 0 {
			t.Errorf("the first one failed: %v", first.all)
		}
		takeRole(t, client, RoleConfig{Namespace: g.log.config.Namespace, Role: janitor}) // it was given back
	})
}

// An outage, and the loss of the role, end nothing.
func TestTendOutlasts(t *testing.T) {
	server := testenv.RedisAOF(t)
	client := server.Client(t)
	g := newGroup(t, newLog(t, client, 1))
	m := join(t, g, "worker", time.Minute)
	var seen troubles
	stop, ended := tended(t, g.log, TendConfig{Every: 20 * time.Millisecond, TTL: 200 * time.Millisecond, Failed: seen.add})
	fill(t, g, m)
	trimmed(t, g.log)

	server.Kill()
	testenv.Wait(t, waitLong, func() error {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		for _, err := range seen.all {
			if strings.Contains(err.Error(), "taking the role") {
				return nil
			}
		}
		return fmt.Errorf("it did not try to get its role back: %v", seen.all)
	})
	server.Restart()
	fill(t, g, m)
	trimmed(t, g.log)

	before := seen.count()
	key := keyspace.Role(g.log.config.Namespace, janitor)
	testenv.Wait(t, waitLong, func() error {
		if owner := client.Get(t.Context(), key).Val(); owner != "" && owner != "another" {
			if err := client.Set(t.Context(), key, "another", 500*time.Millisecond).Err(); err != nil {
				return err
			}
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		for _, err := range seen.all[before:] {
			if errors.Is(err, ErrRoleLost) {
				return nil
			}
		}
		return errors.New("it did not notice that it lost the role")
	})
	fill(t, g, m)
	trimmed(t, g.log)
	select {
	case <-ended:
		t.Fatal("it ended")
	default:
	}
	stop()
}

// Whatever is the matter, Tend ends with its context.
func TestTendEnds(t *testing.T) {
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer nowhere.Close()
	for name, client := range map[string]redis.UniversalClient{"fine": testenv.Embedded(t), "no server": nowhere} {
		t.Run(name, func(t *testing.T) {
			stop, _ := tended(t, newLog(t, client, 2), TendConfig{TTL: time.Hour, Every: time.Hour})
			start := time.Now()
			stop()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it ended after %v", took)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			newLog(t, client, 2).Tend(ctx, TendConfig{}) // returns
		})
	}
}

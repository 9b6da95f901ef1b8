package lease

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func acquire(t *testing.T, client redis.UniversalClient, config NameConfig) *Name {
	t.Helper()
	n, err := AcquireName(t.Context(), client, config)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Scenario 11: of two processes with one name the second gets a clear error, and
// the first notices nothing. A name whose process died is free again.
func TestScenario11_NameTaken(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		config := NameConfig{Namespace: testenv.Namespace(t), Given: "pod-7", TTL: 400 * time.Millisecond}
		first := acquire(t, client, config)
		stop := keeping(t, first)
		start := time.Now()
		_, err := AcquireName(t.Context(), client, config)
		if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), "pod-7") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < config.TTL {
			t.Errorf("the second process gave up after %v, before a dead one's lock would expire", took)
		}
		if err := first.Err(); err != nil {
			t.Errorf("the first process noticed: %v", err)
		}
		acquire(t, client, NameConfig{Namespace: config.Namespace, Given: "pod-8"})
		acquire(t, client, NameConfig{Namespace: testenv.Namespace(t), Given: "pod-7"})

		stop() // the process dies
		var second *Name
		testenv.Wait(t, time.Minute, func() (err error) { // the clock of the embedded server can lag behind
			second, err = AcquireName(t.Context(), client, config)
			return err
		})
		stopSecond := keeping(t, second)
		// What it finds may be a lock of its own, until it is extended.
		testenv.Wait(t, 10*time.Second, func() error {
			if err := first.lock.extend(t.Context()); !errors.Is(err, ErrNameLost) {
				return fmt.Errorf("the first process extends the second one's lock: %v", err)
			}
			return nil
		})
		stopSecond()
		for range 2 {
			if err := first.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := second.lock.extend(t.Context()); err != nil {
			t.Errorf("the first process released the second one's lock: %v", err)
		}
		for range 2 {
			if err := second.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		config.TTL = time.Minute
		acquire(t, client, config) // at once
	})
}

// keeping runs a name until the returned function is called, or the end of the test.
func keeping(t *testing.T, n *Name) (stop func()) {
	t.Helper()
	ctx, cancel := contextOf(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// A session dies with its name.
func TestNameLost(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		namespace := g.log.config.Namespace
		name := acquire(t, client, NameConfig{Namespace: namespace, Given: "pod-7", TTL: 300 * time.Millisecond})
		keeping(t, name)
		s, err := g.log.Register(t.Context(), SessionConfig{Name: name, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.name, "pod-7.") {
			t.Errorf("the session is called %s", s.name)
		}
		result := running(t, s)
		// Redis lost the lock: nobody else has it, so it is taken again.
		key := keyspace.Worker(namespace, "pod-7")
		if err := client.Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
		testenv.Wait(t, 10*time.Second, func() error { return client.Get(t.Context(), key).Err() })
		if err := s.Err(); err != nil {
			t.Errorf("Err is %v", err)
		}
		// An attempt took it whose reply came too late, so that nobody extends it.
		if err := client.Set(t.Context(), key, "ghost", 300*time.Millisecond).Err(); err != nil {
			t.Fatal(err)
		}
		testenv.Wait(t, 10*time.Second, func() error {
			if value, err := client.Get(t.Context(), key).Result(); err != nil || value == "ghost" {
				return fmt.Errorf("the lock is %q, %v", value, err)
			}
			return nil
		})
		if err := s.Err(); err != nil {
			t.Errorf("Err is %v", err)
		}
		// Another process has it.
		if err := client.Set(t.Context(), key, "another", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		if err := within(t, "Run", result); !errors.Is(err, ErrNameLost) {
			t.Errorf("Run returned %v", err)
		}
		if err := s.Err(); !errors.Is(err, ErrNameLost) {
			t.Errorf("Err is %v", err)
		}
		if has := client.Get(t.Context(), key).Val(); has != "another" {
			t.Errorf("the lock is %q; want the other process's", has)
		}
	})
}

// Names come from what was given, POD_NAME, POD_IP, or the host; the last need no
// lock.
func TestNameSources(t *testing.T) {
	client := testenv.Embedded(t)
	config := NameConfig{Namespace: testenv.Namespace(t)}
	t.Setenv("POD_NAME", "")
	t.Setenv("POD_IP", "")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	one, two := acquire(t, client, config), acquire(t, client, config)
	if one.String() == two.String() || !strings.HasPrefix(one.String(), host+"-") {
		t.Errorf("two processes of %s are called %s and %s", host, one, two)
	}
	if keys := client.Keys(t.Context(), "*").Val(); len(keys) != 0 {
		t.Errorf("they left %v", keys)
	}
	if err := one.Release(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := contextOf(t)
	cancel()
	if err := one.Run(ctx); err != nil {
		t.Error(err)
	}

	t.Setenv("POD_IP", "10.0.0.7")
	if n := acquire(t, client, config); n.String() != "10.0.0.7" {
		t.Errorf("POD_IP: called %s", n)
	}
	t.Setenv("POD_NAME", "pod-7")
	if n := acquire(t, client, config); n.String() != "pod-7" {
		t.Errorf("POD_NAME: called %s", n)
	}
	config.Getenv = func(name string) string { return map[string]string{"POD_IP": "10.0.0.8"}[name] }
	if n := acquire(t, client, config); n.String() != "10.0.0.8" {
		t.Errorf("POD_IP of another environment: called %s", n)
	}
	config.Given = "mine"
	if n := acquire(t, client, config); n.String() != "mine" {
		t.Errorf("given: called %s", n)
	}
	config.Given = "not this one"
	if _, err := AcquireName(t.Context(), client, config); err == nil {
		t.Error("a name with spaces was accepted")
	}
}

// A server that cannot be reached says so, rather than that the name is taken.
func TestNameNoServer(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	_, err := AcquireName(t.Context(), client, NameConfig{Given: "pod-7"})
	if err == nil || errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), "is the server running") {
		t.Errorf("got %v", err)
	}
}

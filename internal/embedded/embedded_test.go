package embedded_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/projectord/projectord/internal/embedded"
)

func start(t *testing.T) (*embedded.Server, *redis.Client) {
	t.Helper()
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries = -1
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return server, client
}

func TestListensOnLoopbackOnly(t *testing.T) {
	server, _ := start(t)
	if !strings.HasPrefix(server.Addr(), "127.0.0.1:") {
		t.Errorf("listens on %s", server.Addr())
	}
}

func TestServersAreSeparate(t *testing.T) {
	_, one := start(t)
	_, two := start(t)
	if err := one.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := two.Exists(t.Context(), "key").Val(); n != 0 {
		t.Error("a key of one server shows in the other")
	}
}

func TestKeysExpire(t *testing.T) {
	_, client := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	const ttl = 200 * time.Millisecond
	begin := time.Now()
	if err := client.Set(ctx, "short", "value", ttl).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(ctx, "long", "value", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	for client.Exists(ctx, "short").Val() == 1 {
		if ctx.Err() != nil {
			t.Fatal("the key never expired")
		}
	}
	if lived := time.Since(begin); lived < ttl/2 {
		t.Errorf("the key lived %v, set to %v", lived, ttl)
	}
	if n, err := client.Exists(ctx, "long").Result(); err != nil || n != 1 {
		t.Errorf("the long-lived key is gone: %d, %v", n, err)
	}
}

func TestCloseStopsEverything(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	server.Close()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

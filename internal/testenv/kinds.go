package testenv

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// Kinds are the kinds of Redis that everything runs on, each with a function that
// returns a client.
var Kinds = map[string]func(testing.TB) redis.UniversalClient{
	"Embedded": func(tb testing.TB) redis.UniversalClient { return Embedded(tb) },
	"Redis":    func(tb testing.TB) redis.UniversalClient { return Redis(tb) },
	"Cluster":  func(tb testing.TB) redis.UniversalClient { return Cluster(tb) },
}

// EachKind runs a test on every kind of Redis, in parallel.
func EachKind(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	for name, connect := range Kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, connect(t))
		})
	}
}

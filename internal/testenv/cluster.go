package testenv

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	clusterNodes = 3
	clusterSlots = 16384
)

// Cluster returns a client of a Redis Cluster of three masters without replicas,
// which all tests of the process share. It is closed at the end of the test.
//
// It follows redirections, so it can send a command twice: go-redis counts a
// broken connection to a node as a reason to try again up to MaxRedirects times,
// whatever MaxRetries says.
func Cluster(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	servers, err := sharedCluster()
	must(tb, err)
	options := &redis.ClusterOptions{MaxRetries: -1, DisableIdentity: true, Protocol: 2}
	for _, s := range servers {
		options.Addrs = append(options.Addrs, s.Addr())
	}
	c := redis.NewClusterClient(options)
	tb.Cleanup(func() { c.Close() })
	return c
}

// ClusterURLs returns the URLs of the nodes of the cluster that [Cluster] uses.
func ClusterURLs(tb testing.TB) []string {
	tb.Helper()
	servers, err := sharedCluster()
	must(tb, err)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL())
	}
	return urls
}

var sharedCluster = sync.OnceValues(func() (servers []*RedisServer, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				s.keeper.close()
			}
		}
	}()
	for range clusterNodes {
		s, err := startRedis("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	return servers, join(servers)
})

// join makes one cluster out of empty nodes and waits until all of them agree.
func join(servers []*RedisServer) error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	var nodes []*redis.Client
	for _, s := range servers {
		c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DisableIdentity: true, Protocol: 2})
		defer c.Close()
		nodes = append(nodes, c)
	}
	for i, node := range nodes {
		first, last := i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1
		commands := [][]any{
			{"cluster", "addslotsrange", first, last},
			// Different epochs from the start spare the nodes settling a conflict.
			{"cluster", "set-config-epoch", i + 1},
		}
		for _, other := range servers[i+1:] {
			commands = append(commands, []any{"cluster", "meet", "127.0.0.1", other.port})
		}
		for _, command := range commands {
			if err := node.Do(ctx, command...).Err(); err != nil {
				return fmt.Errorf("testenv: failed to build the cluster: %v: %w", command, err)
			}
		}
	}
	return poll(startWithin, func() error {
		for _, node := range nodes {
			if err := settled(ctx, node); err != nil {
				return err
			}
		}
		return nil
	})
}

// settled says what a node is still missing to serve as part of the cluster.
func settled(ctx context.Context, node *redis.Client) error {
	info, err := node.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{
		"cluster_state:ok",
		fmt.Sprintf("cluster_slots_ok:%d", clusterSlots),
		fmt.Sprintf("cluster_known_nodes:%d", clusterNodes),
		fmt.Sprintf("cluster_size:%d", clusterNodes),
	} {
		if !strings.Contains(info, want+"\r\n") {
			return fmt.Errorf("testenv: a node of the cluster does not say %s:\n%s", want, info)
		}
	}
	return nil
}

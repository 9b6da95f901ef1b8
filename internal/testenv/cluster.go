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

// RedisCluster is a Redis Cluster of one test, which may break its nodes: three
// masters without replicas.
type RedisCluster struct {
	// Nodes are the masters. One that is down leaves its slots unserved until it is
	// started again.
	Nodes []*RedisServer
}

// ClusterAOF runs a private cluster until the end of the test. Its nodes have every
// write on disk before they answer, so that what they confirmed survives
// [RedisServer.Kill] and [RedisServer.Restart].
//
// Nodes miss each other after two seconds, so that a longer outage of one makes all
// of them answer CLUSTERDOWN. One that was restarted does so too at first.
func ClusterAOF(tb testing.TB) *RedisCluster {
	tb.Helper()
	c, err := startCluster("--appendonly", "yes", "--appendfsync", "always", "--cluster-node-timeout", "2000")
	must(tb, err)
	for _, s := range c.Nodes {
		s.tb = tb
	}
	tb.Cleanup(c.close)
	return c
}

// Client returns a client of the cluster, closed at the end of the test.
//
// It follows redirections, so it can send a command twice: go-redis counts a
// broken connection to a node as a reason to try again up to MaxRedirects times,
// whatever MaxRetries says.
func (c *RedisCluster) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	options := &redis.ClusterOptions{MaxRetries: -1, DisableIdentity: true, Protocol: 2}
	for _, s := range c.Nodes {
		options.Addrs = append(options.Addrs, s.Addr())
	}
	client := redis.NewClusterClient(options)
	tb.Cleanup(func() { client.Close() })
	return client
}

// URLs returns the URLs of the nodes.
func (c *RedisCluster) URLs() []string {
	var urls []string
	for _, s := range c.Nodes {
		urls = append(urls, s.URL())
	}
	return urls
}

// Await waits until every node serves its slots and knows that the others do. It
// fails the test without ending it where that takes too long.
func (c *RedisCluster) Await() {
	tb := c.Nodes[0].tb
	tb.Helper()
	if err := c.await(); err != nil {
		tb.Error(err)
	}
}

// Cluster returns a client of a Redis Cluster of three masters without replicas,
// which all tests of the process share. It is as [RedisCluster.Client] says.
func Cluster(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	c, err := sharedCluster()
	must(tb, err)
	return c.Client(tb)
}

// ClusterURLs returns the URLs of the nodes of the cluster that [Cluster] uses.
func ClusterURLs(tb testing.TB) []string {
	tb.Helper()
	c, err := sharedCluster()
	must(tb, err)
	return c.URLs()
}

var sharedCluster = sync.OnceValues(func() (*RedisCluster, error) { return startCluster() })

// startCluster runs a cluster; the arguments are added to the command line of each
// node.
func startCluster(args ...string) (*RedisCluster, error) {
	c := new(RedisCluster)
	args = append([]string{"--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"}, args...)
	for range clusterNodes {
		s, err := startRedis(args...)
		if err != nil {
			c.close()
			return nil, err
		}
		c.Nodes = append(c.Nodes, s)
	}
	if err := c.join(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *RedisCluster) close() {
	for _, s := range c.Nodes {
		s.keeper.close()
	}
}

// dial returns a client of each node by itself, and what closes them.
func (c *RedisCluster) dial() (nodes []*redis.Client, hangUp func()) {
	for _, s := range c.Nodes {
		nodes = append(nodes, redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DisableIdentity: true, Protocol: 2}))
	}
	return nodes, func() {
		for _, node := range nodes {
			node.Close()
		}
	}
}

// join makes one cluster out of empty nodes and waits until all of them agree.
func (c *RedisCluster) join() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	nodes, hangUp := c.dial()
	defer hangUp()
	do := func(node *redis.Client, command ...any) error {
		if err := node.Do(ctx, command...).Err(); err != nil {
			return fmt.Errorf("testenv: failed to build the cluster: %v: %w", command, err)
		}
		return nil
	}
	for i, node := range nodes {
		first, last := i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1
		if err := do(node, "cluster", "addslotsrange", first, last); err != nil {
			return err
		}
		// Different epochs from the start spare the nodes settling a conflict. A
		// node takes one only as long as no other has met it.
		if err := do(node, "cluster", "set-config-epoch", i+1); err != nil {
			return err
		}
	}
	for i, node := range nodes {
		for _, other := range c.Nodes[i+1:] {
			if err := do(node, "cluster", "meet", "127.0.0.1", other.port); err != nil {
				return err
			}
		}
	}
	return c.await()
}

// await waits until all nodes agree that everything is served.
func (c *RedisCluster) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	nodes, hangUp := c.dial()
	defer hangUp()
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

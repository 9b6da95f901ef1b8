package testenv

import (
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/servers"
)

// RedisCluster is a Redis Cluster of one test, which may break its nodes: three
// masters without replicas.
type RedisCluster struct {
	// Nodes are the masters. One that is down leaves its slots unserved until it is
	// started again.
	Nodes []*RedisServer

	tb      testing.TB
	cluster *servers.Cluster
}

// ClusterAOF runs a private cluster until the end of the test. Its nodes have every
// write on disk before they answer, so that what they confirmed survives
// [RedisServer.Kill] and [RedisServer.Restart].
//
// Nodes miss each other after two seconds, so that a longer outage of one makes all
// of them answer CLUSTERDOWN. One that was restarted does so too at first.
func ClusterAOF(tb testing.TB) *RedisCluster {
	tb.Helper()
	c, err := servers.StartCluster("--appendonly", "yes", "--appendfsync", "always", "--cluster-node-timeout", "2000")
	must(tb, err)
	tb.Cleanup(c.Close)
	cluster := &RedisCluster{tb: tb, cluster: c}
	for _, node := range c.Nodes {
		cluster.Nodes = append(cluster.Nodes, &RedisServer{tb, node})
	}
	return cluster
}

// Client returns a client of the cluster, closed at the end of the test.
//
// It follows redirections, so it can send a command twice: go-redis counts a
// broken connection to a node as a reason to try again up to MaxRedirects times,
// whatever MaxRetries says.
func (c *RedisCluster) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	return clusterClient(tb, c.cluster)
}

// URLs returns the URLs of the nodes.
func (c *RedisCluster) URLs() []string { return c.cluster.URLs() }

// Await waits until every node serves its slots and knows that the others do. It
// fails the test without ending it where that takes too long.
func (c *RedisCluster) Await() {
	c.tb.Helper()
	report(c.tb, c.cluster.Await())
}

// Cluster returns a client of a Redis Cluster of three masters without replicas,
// which all tests of the process share. It is as [RedisCluster.Client] says.
func Cluster(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	c, err := sharedCluster()
	must(tb, err)
	return clusterClient(tb, c)
}

// ClusterURLs returns the URLs of the nodes of the cluster that [Cluster] uses.
func ClusterURLs(tb testing.TB) []string {
	tb.Helper()
	c, err := sharedCluster()
	must(tb, err)
	return c.URLs()
}

var sharedCluster = sync.OnceValues(func() (*servers.Cluster, error) { return servers.StartCluster() })

func clusterClient(tb testing.TB, c *servers.Cluster) *redis.ClusterClient {
	tb.Helper()
	options := &redis.ClusterOptions{MaxRetries: -1, DisableIdentity: true, Protocol: 2}
	for _, node := range c.Nodes {
		options.Addrs = append(options.Addrs, node.Addr())
	}
	client := redis.NewClusterClient(options)
	tb.Cleanup(func() { client.Close() })
	return client
}

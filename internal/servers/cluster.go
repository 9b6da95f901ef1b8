package servers

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

const (
	clusterNodes = 3
	clusterSlots = 16384
)

// Cluster is a Redis Cluster of one's own: three masters without replicas, which may be
// broken.
type Cluster struct {
	// Nodes are the masters. One that is down leaves its slots unserved until it is
	// started again.
	Nodes []*Redis
}

// StartCluster runs a cluster until it is closed. The arguments are added to the command
// line of each node.
func StartCluster(args ...string) (*Cluster, error) {
	c := new(Cluster)
	args = append([]string{"--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"}, args...)
	for range clusterNodes {
		s, err := StartRedis(args...)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.Nodes = append(c.Nodes, s)
	}
	if err := c.join(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends all nodes and removes what they left.
func (c *Cluster) Close() {
	for _, s := range c.Nodes {
		s.Close()
	}
}

// URLs returns the URLs of the nodes.
func (c *Cluster) URLs() []string {
	var urls []string
	for _, s := range c.Nodes {
		urls = append(urls, s.URL())
	}
	return urls
}

// dial returns a client of each node by itself, and what closes them.
func (c *Cluster) dial() (nodes []*redis.Client, hangUp func()) {
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
func (c *Cluster) join() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	nodes, hangUp := c.dial()
	defer hangUp()
	do := func(node *redis.Client, command ...any) error {
		if err := node.Do(ctx, command...).Err(); err != nil {
			return fmt.Errorf("servers: failed to build the cluster: %v: %w", command, err)
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
	return c.Await()
}

// Await waits until every node serves its slots and knows that the others do.
func (c *Cluster) Await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	nodes, hangUp := c.dial()
	defer hangUp()
	return Poll(startWithin, func() error {
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
			return fmt.Errorf("servers: a node of the cluster does not say %s:\n%s", want, info)
		}
	}
	return nil
}

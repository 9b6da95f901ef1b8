package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// allSlots is how many slots a Redis Cluster has.
const allSlots = 16384

func lookAtCluster(ctx context.Context, p *patient) (found []finding, _ error) {
	client, cluster := p.client.(*redis.ClusterClient)
	if !cluster {
		for _, s := range p.servers {
			if s.info["cluster_enabled"] == "1" {
				found = append(found, s.at(isError, "this is a node of a Redis Cluster, and is spoken to as a single Redis", "cluster_enabled = 1",
					"begin redis-url with redis+cluster:// or rediss+cluster://"))
			}
		}
		return found, nil
	}
	text, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return nil, err
	}
	nodes, err := client.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, err
	}
	found = clusterFindings(p.servers[0], parseInfo(text), nodes)
	for _, s := range p.servers {
		if s.info.number("connected_slaves") == 0 {
			found = append(found, s.at(isWarning, "this master has no replica: when it is lost, so are its streams", s.info.seen("connected_slaves"),
				"add one: redis-cli --cluster add-node NEW_HOST:PORT "+s.addr+" --cluster-slave"))
		}
	}
	partitions, err := p.partitions(ctx)
	if err == nil && partitions > 0 && partitions < len(p.servers) {
		found = append(found, p.servers[0].at(isWarning, "the namespace has fewer partitions than the cluster has masters: some have nothing to do",
			fmt.Sprintf("%d partitions, %d masters", partitions, len(p.servers)), "the number never changes: a namespace with more, by run --partitions, to which the events are copied"))
	}
	return found, err
}

// clusterFindings judges what a node says of its cluster.
func clusterFindings(s *redisServer, of info, nodes string) (found []finding) {
	unserved := allSlots - of.number("cluster_slots_ok")
	if of["cluster_state"] != "ok" || unserved > 0 {
		found = append(found, s.at(isError, "the cluster does not serve everything", fmt.Sprintf("%s, slots that nobody serves = %d", of.seen("cluster_state", "cluster_slots_assigned", "cluster_slots_fail"), unserved),
			"start the nodes that are away, or have a replica take over: redis-cli -p PORT cluster failover takeover there; redis-cli --cluster check "+s.addr+" tells more, --cluster fix assigns slots that nobody has"))
	}
	for line := range strings.Lines(nodes) {
		fields := strings.Fields(line)
		if len(fields) < 3 || !strings.Contains(","+strings.ReplaceAll(fields[2], "?", "")+",", ",fail,") {
			continue
		}
		addr, _, _ := strings.Cut(fields[1], "@")
		found = append(found, s.at(isError, "the cluster misses node "+addr, "flags = "+fields[2], "start it; one that never comes back is taken out: redis-cli --cluster del-node "+s.addr+" "+fields[0]))
	}
	if s.config["cluster-require-full-coverage"] == "no" {
		found = append(found, s.at(isInfo, "a part of the cluster goes on where another is lost: streams on lost slots stand still, others do not", "cluster-require-full-coverage = no", ""))
	}
	return found
}

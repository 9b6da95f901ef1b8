package daemon

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// allSlots is how many slots a Redis Cluster has.
const allSlots = 16384

func lookAtCluster(ctx context.Context, p *patient) (found []finding, _ error) {
	if _, cluster := p.client.(*redis.ClusterClient); !cluster {
		for _, s := range p.servers {
			if s.info["cluster_enabled"] == "1" {
				found = append(found, s.at(isError, "this is a node of a Redis Cluster, and is spoken to as a single Redis", "cluster_enabled = 1",
					"begin redis-url with redis+cluster:// or rediss+cluster://"))
			}
		}
		return found, nil
	}
	// By a node that answers: the client would ask any, also one that is away.
	text, err := p.servers[0].client.ClusterInfo(ctx).Result()
	if err != nil {
		return nil, err
	}
	nodes, err := p.servers[0].client.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, err
	}
	found = clusterFindings(p.servers[0], parseInfo(text), nodes)
	for _, s := range p.servers {
		if s.info.number("connected_slaves") == 0 {
			found = append(found, s.at(isWarning, "this master has no replica: when it is lost, so are its streams", s.info.seen("connected_slaves"),
				"add one: "+s.cluster("add-node NEW_HOST:PORT", "--cluster-slave")))
		}
	}
	partitions, err := p.partitions(ctx)
	if err == nil && partitions > 0 && partitions < len(p.servers) {
		found = append(found, p.servers[0].at(isWarning, "the namespace has fewer partitions than the cluster has masters: some have nothing to do",
			fmt.Sprintf("%d partitions, %d masters", partitions, len(p.servers)), "the number never changes: a namespace with more, by run --partitions, to which the events are copied"))
	}
	return found, err
}

// clusterNode is a line of what CLUSTER NODES says.
type clusterNode struct {
	id, addr, flags, master string
	slots                   []string
}

// is reports whether a node has a flag; one that others only suspect counts as failed.
func (n clusterNode) is(flag string) bool {
	return strings.Contains(","+strings.ReplaceAll(n.flags, "?", "")+",", ","+flag+",")
}

func parseNodes(text string) (all []clusterNode) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 8 {
			addr, _, _ := strings.Cut(fields[1], "@")
			all = append(all, clusterNode{id: fields[0], addr: addr, flags: fields[2], master: fields[3], slots: fields[8:]})
		}
	}
	return all
}

// clusterFindings judges what a node says of its cluster.
func clusterFindings(s *redisServer, of info, nodes string) (found []finding) {
	unserved := allSlots - of.number("cluster_slots_ok")
	if of["cluster_state"] != "ok" || unserved > 0 {
		found = append(found, s.at(isError, "the cluster does not serve everything", fmt.Sprintf("%s, slots that nobody serves = %d", of.seen("cluster_state", "cluster_slots_assigned", "cluster_slots_fail"), unserved),
			fmt.Sprintf("do first what stands with each node that the cluster misses: starting it loses nothing. Slots that no node has afterwards are empty, their events lost; this has others serve them, once you say yes:\n%s\n%s tells how it stands", s.cluster("fix", ""), s.cluster("check", ""))))
	}
	all := parseNodes(nodes)
	for _, n := range all {
		if n.is("fail") {
			found = append(found, s.at(isError, "the cluster misses node "+n.addr, fmt.Sprintf("flags = %s, slots = %s", n.flags, known(strings.Join(n.slots, " "))), s.bringBack(n, all)))
		}
	}
	if s.config["cluster-require-full-coverage"] == "no" {
		found = append(found, s.at(isInfo, "a part of the cluster goes on where another is lost: streams on lost slots stand still, others do not", "cluster-require-full-coverage = no", ""))
	}
	return found
}

// bringBack says what to do about a node that is away. What it alone has is lost with it,
// and no command brings that back.
func (s *redisServer) bringBack(n clusterNode, all []clusterNode) string {
	forget := s.cluster("call", "cluster forget "+n.id)
	if len(n.slots) == 0 {
		return "start it; it serves no slots, so that nothing is lost where it never comes back, and all forget it by:\n" + forget
	}
	for _, r := range all {
		if host, port, err := net.SplitHostPort(r.addr); err == nil && r.master == n.id && !r.is("fail") {
			over := *s
			over.dialed = strings.Replace(s.dialed, dialing(s.addr), " -h "+host+" -p "+port, 1)
			return "start it, or have its replica take over, which loses what had not reached that:\n" + over.cli("cluster failover takeover")
		}
	}
	return "start it, on the data it had: its append-only file or snapshot and nodes.conf, from a backup where its disk is gone, and nothing is lost but what the backup lacks.\n" +
		"Where there is neither, all events, positions and read models in its slots are lost, and nothing here brings them back. Only then have the others forget it:\n" +
		forget + "\nand serve its slots, empty, once you say yes:\n" + s.cluster("fix", "")
}

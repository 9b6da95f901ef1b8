package daemon

import (
	"cmp"
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var memoryChecks = []check{
	{name: "memory", needs: needsRedis, worst: isError, run: each(lookAtMemory),
		looks: "memory near `maxmemory` or that of the machine, writes that were refused for it, and fragmentation",
		fix:   "raise `maxmemory`, then remove events by `retention apply`, or spread over a cluster"},
	{name: "stream-memory", needs: needsNamespace, worst: isInfo, run: lookAtStreams,
		looks: "how long streams are and what they take, by a sample, and `stream-node-max-bytes`: 1024 takes a quarter less for short ones",
		fix:   "`config set stream-node-max-bytes 1024`; rules of retention"},
}

const (
	// nearlyFull and full are shares of maxmemory, in percent; tooMuch is that of the
	// machine, where there is no maxmemory.
	nearlyFull = 85
	full       = 99
	tooMuch    = 75
	// ragged is the fragmentation, in percent of what is used, that is told of from
	// raggedFrom bytes on.
	ragged     = 150
	raggedFrom = 256 << 20
)

func lookAtMemory(p *patient, s *redisServer) (found []finding) {
	used, most, machine := s.info.number("used_memory"), s.info.number("maxmemory"), s.info.number("total_system_memory")
	evidence := fmt.Sprintf("used_memory = %s of maxmemory = %s (%s)", bytesText(used), bytesText(most), percent(used, most))
	room := s.set("maxmemory", fmt.Sprint(2*most)) + "\n" + p.lessMemory()
	refused := s.info.parts("errorstat_OOM").number("count")
	switch {
	case most > 0 && used*100 >= most*full:
		found = append(found, s.at(isError, "memory is full: Redis refuses every append (OOM)", evidence, room))
	case most > 0 && used*100 >= most*nearlyFull && refused > 0:
		// What an append takes is refused before memory is full to the last byte.
		found = append(found, s.at(isError, "memory is full: Redis has refused appends (OOM)", fmt.Sprintf("%s, errorstat_OOM = %d", evidence, refused), room))
	case most > 0 && used*100 >= most*nearlyFull:
		found = append(found, s.at(isWarning, "memory is nearly full: Redis will refuse appends (OOM)", evidence, room))
	case most == 0 && machine > 0 && used*100 >= machine*tooMuch:
		found = append(found, s.at(isWarning, "memory of the machine runs out, and there is no limit: the kernel will end Redis", fmt.Sprintf("used_memory = %s of total_system_memory = %s (%s), maxmemory = 0", bytesText(used), bytesText(machine), percent(used, machine)),
			s.set("maxmemory", fmt.Sprint(machine/10*8))+"\n"+p.lessMemory()))
	}
	if refused > 0 {
		found = append(found, s.at(isWarning, "commands were refused for lack of memory since the server started", fmt.Sprintf("errorstat_OOM = %d; %s", refused, evidence),
			"those who appended got an error and can repeat it; "+s.cli("config resetstat")+" counts anew"))
	}
	if rss := s.info.number("used_memory_rss"); used > raggedFrom && rss*100 > used*ragged {
		found = append(found, s.at(isWarning, "memory is fragmented: Redis takes much more than it uses", s.info.seen("mem_fragmentation_ratio", "used_memory_human", "used_memory_rss_human"), s.set("activedefrag", "yes")))
	}
	return found
}

// lessMemory says how memory is given back. There has to be room first: retention writes a
// little too.
func (p *patient) lessMemory() string {
	return fmt.Sprintf("then, for memory not to run out again: %s says what the rules of the program do not want and nobody needs, and removes it with --yes; where that is nothing, rules or snapshots are missing, see docs/guides/retention.md", p.call("retention apply"))
}

const (
	// Of so many partitions so many streams are sampled.
	sampledPartitions = 8
	sampledStreams    = 8
	// wantedNodeBytes is the stream-node-max-bytes that suits short streams, of which
	// the average is below shortStream events.
	wantedNodeBytes = 1024
	shortStream     = 100
	// longStream is from how many events on, on average, that is told of.
	longStream = 1000
)

// sample is what some streams take.
type sample struct {
	streams, events, bytes int64
	all                    int64 // streams of the namespace
}

func lookAtStreams(ctx context.Context, p *patient) ([]finding, error) {
	of, err := p.sampled(ctx)
	if err != nil || of.streams == 0 {
		return nil, err
	}
	for _, s := range p.servers {
		if found := sampleFindings(s, of); found != nil {
			return found, nil // others of the cluster are like it
		}
	}
	return nil, nil
}

// sampled looks at a few streams of some partitions.
func (p *patient) sampled(ctx context.Context) (of sample, err error) {
	pipe := p.client.Pipeline()
	partitions := p.keys.Partitions()
	lens := make([]*redis.IntCmd, partitions)
	for i := range lens {
		lens[i] = pipe.HLen(ctx, p.keys.Heads(i))
	}
	var some []*redis.StringSliceCmd
	step := max(1, partitions/sampledPartitions)
	for i := 0; i < partitions; i += step {
		some = append(some, pipe.HRandField(ctx, p.keys.Heads(i), sampledStreams))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return of, err
	}
	for _, n := range lens {
		of.all += n.Val()
	}
	var sizes, events []*redis.IntCmd
	for _, streams := range some {
		for _, stream := range streams.Val() {
			sizes, events = append(sizes, pipe.MemoryUsage(ctx, p.keys.Stream(stream))), append(events, pipe.XLen(ctx, p.keys.Stream(stream)))
		}
	}
	pipe.Exec(ctx)
	for i := range sizes {
		switch err := cmp.Or(sizes[i].Err(), events[i].Err()); {
		case err == redis.Nil: // it was deleted meanwhile
			continue
		case err != nil:
			return of, err
		}
		of.streams++
		of.bytes += sizes[i].Val()
		of.events += events[i].Val()
	}
	return of, nil
}

func sampleFindings(s *redisServer, of sample) []finding {
	each, events := of.bytes/of.streams, float64(of.events)/float64(of.streams)
	evidence := fmt.Sprintf("%s of %s sampled: %s and %.1f events each, about %s for all", many(int(of.streams), "stream"), count(of.all), bytesText(each), events, bytesText(each*of.all))
	node := s.config["stream-node-max-bytes"]
	switch {
	case events >= longStream:
		return []finding{s.at(isInfo, "streams are long: they take memory, and time to fold anew", evidence, "rules of retention say what is not wanted any more, see docs/guides/retention.md; snapshots save the time")}
	case events >= shortStream || node == fmt.Sprint(wantedNodeBytes):
		return nil
	case node == "":
		return []finding{s.at(isInfo, "whether streams could take a quarter less cannot be told: stream-node-max-bytes is not known", evidence, "1024 suits short streams")}
	case number64(node) > 0 && number64(node) < wantedNodeBytes:
		return nil
	}
	return []finding{s.at(isInfo, "short streams take about a quarter less memory with smaller nodes; those that are there keep what they have", fmt.Sprintf("stream-node-max-bytes = %s; %s", node, evidence), s.set("stream-node-max-bytes", fmt.Sprint(wantedNodeBytes)))}
}

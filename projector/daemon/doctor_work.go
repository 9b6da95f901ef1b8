package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

var workChecks = []check{
	{name: "namespace", needs: needsRedis, worst: isError, run: meetNamespace,
		looks: "whether the namespace exists, and in a layout that this program knows",
		fix:   "`run` or `streams append` creates it; upgrade this program"},
	{name: "workers", needs: needsNamespace, worst: isWarning, run: lookAtWorkers,
		looks: "whether a worker lives where there are projections",
		fix:   "`run`"},
	{name: "groups", needs: needsNamespace, worst: isError, run: lookAtGroups,
		looks: "groups with something outstanding that nobody serves, an error where readers see that generation, and groups that the server has lost",
		fix:   "`run` the program with that code, or `projections retire` the generation"},
	{name: "backlog", needs: needsNamespace, waits: true, worst: isWarning, run: lookAtBacklog,
		looks: "whether what is outstanding grows, measured twice a second apart, while the oldest of it waits for longer than that",
		fix:   "more workers, or a faster read model"},
	{name: "pending", needs: needsNamespace, worst: isWarning, run: lookAtPending,
		looks: "entries that a live worker was given long ago and has not settled, among the oldest of each group",
		fix:   "see what that worker hangs on; stop it, and others take over"},
	{name: "dead-sessions", needs: needsNamespace, worst: isWarning, run: lookAtDead,
		looks: "entries of sessions that are dead and that nobody has taken over, among the oldest of each group",
		fix:   "`run` the program with that code"},
	{name: "parked", needs: needsNamespace, worst: isError, run: lookAtParked,
		looks: "parked streams, by their reasons: an error in generations that readers see",
		fix:   "`parked show`, then `parked retry` or `parked skip`"},
	{name: "adopted", needs: needsNamespace, worst: isError, run: lookAtAdopted,
		looks: "keys of other programs' streams that are parked, and entries that were lost before they were adopted, which is info",
		fix:   "`adopted ls`, then `adopted retry` or `adopted skip`; have the producer keep more"},
	{name: "generations", needs: needsNamespace, worst: isError, run: lookAtGenerations,
		looks: "generations whose building failed or is paused, that wait to be promoted or retired, or are half retired",
		fix:   "`projections show`, then `resume`, `promote` or `retire`"},
}

// partitions returns how many partitions the namespace has, 0 where it does not exist.
func (p *patient) partitions(ctx context.Context) (int, error) {
	text, err := p.client.HGet(ctx, keyspace.Meta(p.Namespace), keyspace.MetaPartitions).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// meetNamespace is the check that all others on the namespace come after. It does not
// open the store, which would refuse the servers that doctor is for.
func meetNamespace(ctx context.Context, p *patient) ([]finding, error) {
	subject := "namespace " + p.Namespace
	key := keyspace.Meta(p.Namespace)
	all, err := p.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, redisx.Explain(err))
	}
	if len(all) == 0 {
		return []finding{{Severity: isInfo, Subject: subject, Finding: "it does not exist yet, so that only servers and settings were looked at", Evidence: "key " + key + " does not exist",
			Fix: fmt.Sprintf("see whether the name in --namespace or %s is right; %s and %s create it", env("namespace"), p.call("run"), p.call("streams append"))}}, nil
	}
	if layout := all["layout"]; layout != strconv.Itoa(keyspace.Layout) {
		return []finding{{Severity: isError, Subject: subject, Finding: "its keys are laid out in a way that this program does not know", Evidence: fmt.Sprintf("layout = %s, known is %d", known(layout), keyspace.Layout),
			Fix: "upgrade this program to the version that created it, or a newer one"}}, nil
	}
	partitions, err := strconv.Atoi(all[keyspace.MetaPartitions])
	if err != nil || partitions < 1 || partitions > keyspace.MaxPartitions {
		return []finding{{Severity: isError, Subject: subject, Finding: "how many partitions it has cannot be read", Evidence: "partitions = " + known(all[keyspace.MetaPartitions]),
			Fix: fmt.Sprintf("key %s was damaged: a backup has the number, and so has every log of workers; redis-cli hset '%s' partitions NUMBER", key, key)}}, nil
	}
	log, err := lease.NewLog(p.client, lease.Config{Namespace: p.Namespace, Partitions: partitions})
	if err != nil {
		return nil, err
	}
	registry, err := generations.New(p.client, p.Namespace)
	if err != nil {
		return nil, err
	}
	p.Operator = projector.Operator{Log: log, Generations: registry}
	p.keys, p.exists = keyspace.New(p.Namespace, partitions), true
	return nil, nil
}

// records returns all generations, by the names of their groups, and which are active.
func (p *patient) records(ctx context.Context) (records map[string]generations.Record, active map[string]bool, err error) {
	all, err := p.Generations.All(ctx)
	records, active = make(map[string]generations.Record), make(map[string]bool)
	for _, projection := range all {
		for _, r := range projection.Records {
			name := group(r.Projection, r.Generation)
			records[name], active[name] = r, r.Generation == projection.Active
		}
	}
	return records, active, err
}

func lookAtWorkers(ctx context.Context, p *patient) ([]finding, error) {
	live, err := p.Log.Live(ctx)
	if err != nil || len(live) > 0 {
		return nil, err
	}
	records, _, err := p.records(ctx)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return []finding{{Severity: isWarning, Subject: "namespace " + p.Namespace, Finding: "no worker lives: what is appended waits", Evidence: "live sessions = 0, generations = " + count(len(records)),
		Fix: "start one, on as many machines as you like: " + p.call("run") + ", by the program that has the code"}}, nil
}

func lookAtGroups(ctx context.Context, p *patient) (found []finding, _ error) {
	outstanding, err := p.Log.Unserved(ctx, 0) // all that have anything
	if err != nil {
		return nil, err
	}
	live, err := p.Log.Live(ctx)
	if err != nil {
		return nil, err
	}
	serving := make(map[string]int)
	for _, session := range live {
		for _, name := range session.Groups {
			serving[name]++
		}
	}
	records, active, err := p.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range outstanding {
		r, known := records[u.Group]
		if known && r.State != generations.Built || serving[u.Group] > 0 && u.Idle < unservedAfter {
			continue // of those that are not built the check generations tells
		}
		f := finding{Severity: isWarning, Subject: "group " + u.Group, Evidence: fmt.Sprintf("%s outstanding, %s", many(int(u.Pointers), "pointer"), many(serving[u.Group], "live session"))}
		if u.Idle > 0 {
			f.Evidence += ", asked for more last " + ago(u.Idle) + " ago"
		}
		switch {
		case !known:
			f.Finding = "a group that belongs to no generation keeps the logs from being trimmed"
			f.Fix = fmt.Sprintf("where nobody uses it, for each partition P of %d: redis-cli xgroup destroy '{%s:P}:log' %s", p.keys.Partitions(), p.Namespace, u.Group)
		case active[u.Group]:
			f.Severity = isError
			f.Finding = fmt.Sprintf("nobody serves it: what readers see of %s does not get on", r.Projection)
			f.Fix = fmt.Sprintf("start a worker with version %d of its code: %s; workers ls shows which live, and what they serve", r.Version, p.call("run"))
		default:
			f.Finding = "nobody serves it: it falls behind, and keeps the logs from being trimmed"
			f.Fix = fmt.Sprintf("where nobody goes back to it: %s; else start a worker with version %d of its code", p.call("projections retire %s --generation %d --yes", r.Projection, r.Generation), r.Version)
		}
		found = append(found, f)
	}
	lost, err := p.lostGroups(ctx, records, active)
	return append(found, lost...), err
}

// lostGroups finds groups of generations that readers see which are not in all partitions.
// Workers make one when they begin, so that only a server that lost it can lack it.
func (p *patient) lostGroups(ctx context.Context, records map[string]generations.Record, active map[string]bool) (found []finding, _ error) {
	groups, err := p.groups(ctx)
	if err != nil {
		return nil, err
	}
	in := make(map[string]int)
	for _, g := range groups {
		in[g.Name]++
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		if lacks := p.keys.Partitions() - in[name]; lacks > 0 && active[name] {
			found = append(found, finding{Severity: isError, Subject: "group " + name, Finding: "it is not there in all partitions: what is appended in the others reaches nobody",
				Evidence: fmt.Sprintf("missing in %d of %d partitions", lacks, p.keys.Partitions()),
				Fix:      "start another worker: " + p.call("run") + " makes it anew and announces what waits; then see that nothing was lost with it: " + p.call("audit")})
		}
	}
	return found, nil
}

// groupAt is a group in the log of one partition.
type groupAt struct {
	partition int
	redis.XInfoGroup
}

// groups returns the groups of all partitions, in one round trip.
func (p *patient) groups(ctx context.Context) (all []groupAt, err error) {
	pipe := p.client.Pipeline()
	replies := make([]*redis.XInfoGroupsCmd, p.keys.Partitions())
	for i := range replies {
		replies[i] = pipe.XInfoGroups(ctx, p.keys.Log(i))
	}
	pipe.Exec(ctx)
	for i, reply := range replies {
		some, err := reply.Result()
		if err != nil && !strings.Contains(err.Error(), "no such key") {
			return nil, fmt.Errorf("key %s: %w", p.keys.Log(i), err)
		}
		for _, g := range some {
			all = append(all, groupAt{i, g})
		}
	}
	return all, nil
}

// backlog is what is outstanding in a group.
type backlog struct {
	pointers int64
	oldest   time.Duration // age of the oldest
}

func lookAtBacklog(ctx context.Context, p *patient) ([]finding, error) {
	first, err := p.backlogs(ctx)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	select {
	case <-time.After(p.between):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	second, err := p.backlogs(ctx)
	if err != nil {
		return nil, err
	}
	records, _, err := p.records(ctx)
	if err != nil {
		return nil, err
	}
	return p.growing(first, second, records), nil
}

// growing compares what was outstanding at two times. At any rate of appends there is
// something; what tells is that it grew, and that the oldest was there both times.
func (p *patient) growing(first, second map[string]backlog, records map[string]generations.Record) (found []finding) {
	for _, name := range slices.Sorted(maps.Keys(second)) {
		before, after := first[name], second[name]
		if r, known := records[name]; known && r.State != generations.Built || after.pointers <= before.pointers || after.oldest < 2*p.between {
			continue
		}
		found = append(found, finding{Severity: isWarning, Subject: "group " + name, Finding: "its backlog grows: workers do not keep up with what is appended",
			Evidence: fmt.Sprintf("%s outstanding, %s more than %s before; the oldest waits for %s", many(int(after.pointers), "pointer"), count(after.pointers-before.pointers), p.between, ago(after.oldest)),
			Fix:      "start more workers: " + p.call("run") + ", on other machines; where all of them wait for the read model, make that faster, or raise --capacity; where Redis itself is busy, use a Redis Cluster"})
	}
	return found
}

// backlogs measures what is outstanding, by group. Groups without anything are left out.
func (p *patient) backlogs(ctx context.Context) (map[string]backlog, error) {
	groups, err := p.groups(ctx)
	if err != nil {
		return nil, err
	}
	pipe := p.client.Pipeline()
	now := pipe.Time(ctx)
	pending, waiting := make([]*redis.XPendingCmd, len(groups)), make([]*redis.XMessageSliceCmd, len(groups))
	for i, g := range groups {
		if g.Pending > 0 {
			pending[i] = pipe.XPending(ctx, p.keys.Log(g.partition), g.Name)
		}
		if g.Lag != 0 {
			waiting[i] = pipe.XRangeN(ctx, p.keys.Log(g.partition), "("+g.LastDeliveredID, "+", 1)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	all := make(map[string]backlog)
	for i, g := range groups {
		of := all[g.Name]
		of.pointers += g.Pending + max(g.Lag, 0)
		if pending[i] != nil {
			of.oldest = max(of.oldest, ageOf(pending[i].Val().Lower, now.Val()))
		}
		if waiting[i] != nil && len(waiting[i].Val()) > 0 {
			of.oldest = max(of.oldest, ageOf(waiting[i].Val()[0].ID, now.Val()))
		}
		if of.pointers > 0 {
			all[g.Name] = of
		}
	}
	return all, nil
}

// ageOf returns how long ago the server made an entry of a log, 0 where its id does not tell.
func ageOf(id string, now time.Time) time.Duration {
	ms, _, _ := strings.Cut(id, "-")
	n := number64(ms)
	if n == 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(n))
}

const (
	// oldestOf is how many of the oldest pending entries of a group are looked at in a
	// partition.
	oldestOf = 10
	// pendingLong is how long a live worker has had an entry that is told of, and
	// deadLong how long a dead one.
	pendingLong = 5 * time.Minute
	deadLong    = 30 * time.Second
)

// stuck is what a session has had for long.
type stuck struct {
	group, session string
	dead           bool
	entries        int
	idle           time.Duration // of the one that it has had longest
	partition      int
	id             string // of that entry
	stream         string // of that entry, empty where that is gone
}

// stuck returns what sessions have had for long, of the oldest entries of each group.
func (p *patient) stuck(ctx context.Context) ([]stuck, error) {
	groups, err := p.groups(ctx)
	if err != nil {
		return nil, err
	}
	pipe := p.client.Pipeline()
	now := pipe.Time(ctx)
	sessions := make([]*redis.MapStringStringCmd, p.keys.Partitions())
	for i := range sessions {
		sessions[i] = pipe.HGetAll(ctx, p.keys.Sessions(i))
	}
	pending := make([]*redis.XPendingExtCmd, len(groups))
	for i, g := range groups {
		if g.Pending > 0 {
			pending[i] = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: p.keys.Log(g.partition), Group: g.Name, Start: "-", End: "+", Count: oldestOf})
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	by := make(map[[2]string]*stuck)
	for i, g := range groups {
		if pending[i] == nil {
			continue
		}
		for _, e := range pending[i].Val() {
			dead := time.UnixMilli(number64(sessions[g.partition].Val()[e.Consumer])).Before(now.Val())
			if dead && e.Idle < deadLong || !dead && e.Idle < pendingLong {
				continue
			}
			key := [2]string{g.Name, e.Consumer}
			s := by[key]
			if s == nil {
				s = &stuck{group: g.Name, session: e.Consumer}
				by[key] = s
			}
			s.dead = s.dead || dead
			if s.entries++; e.Idle > s.idle {
				s.idle, s.id, s.partition = e.Idle, e.ID, g.partition
			}
		}
	}
	var all []stuck
	for _, s := range by {
		some, err := p.client.XRange(ctx, p.keys.Log(s.partition), s.id, s.id).Result()
		if err != nil {
			return nil, err
		}
		if len(some) > 0 {
			s.stream, _ = some[0].Values[keyspace.PointerStream].(string)
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b stuck) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.session, b.session)) })
	return all, nil
}

func (s stuck) evidence() string {
	return fmt.Sprintf("%s among the oldest %d of each partition, %s for %s", many(s.entries, "entry"), oldestOf, orDash(s.stream), ago(s.idle))
}

func lookAtPending(ctx context.Context, p *patient) (found []finding, _ error) {
	all, err := p.stuck(ctx)
	for _, s := range all {
		if !s.dead {
			found = append(found, finding{Severity: isWarning, Subject: "group " + s.group, Finding: "session " + s.session + " lives, and has had entries for long without settling them", Evidence: s.evidence(),
				Fix: "see in its log what it waits for; " + p.call("workers ls") + " shows it. Ended by SIGTERM it gives back what it holds, and others go on"})
		}
	}
	return found, err
}

func lookAtDead(ctx context.Context, p *patient) (found []finding, _ error) {
	all, err := p.stuck(ctx)
	for _, s := range all {
		if s.dead {
			found = append(found, finding{Severity: isWarning, Subject: "group " + s.group, Finding: "session " + s.session + " is dead, and nobody takes over what it had", Evidence: s.evidence(),
				Fix: "start a worker that serves the group: " + p.call("run") + ", by the program with that version of the code; it takes over at once"})
		}
	}
	return found, err
}

// parkedLooked is how many parked streams of a group are looked at for their reasons, and
// reasonsTold how many reasons are told.
const (
	parkedLooked = 1000
	reasonsTold  = 5
)

// reason is why some streams are parked.
type reason struct {
	streams  int
	example  lease.ParkedStream
	outdated bool
}

func lookAtParked(ctx context.Context, p *patient) (found []finding, _ error) {
	records, active, err := p.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		g := p.Log.Existing(name)
		n, err := g.ParkedCount(ctx)
		if err != nil {
			return found, err
		}
		if n == 0 || records[name].State == generations.Retiring {
			continue
		}
		var some []lease.ParkedStream
		for s, err := range g.Parked(ctx) {
			if err != nil {
				return found, err
			}
			if some = append(some, s); len(some) == parkedLooked {
				break
			}
		}
		found = append(found, p.parkedFindings(records[name], active[name], n, some)...)
	}
	return found, nil
}

// parkedFindings tells what is parked in a generation, by reasons, most frequent first.
func (p *patient) parkedFindings(r generations.Record, active bool, all int, some []lease.ParkedStream) (found []finding) {
	by := make(map[string]*reason)
	for _, s := range some {
		key := reasonOf(s)
		if by[key] == nil {
			by[key] = &reason{example: s, outdated: s.Outdated != ""}
		}
		by[key].streams++
	}
	reasons := slices.SortedFunc(maps.Values(by), func(a, b *reason) int {
		return cmp.Or(cmp.Compare(b.streams, a.streams), cmp.Compare(a.example.Stream, b.example.Stream))
	})
	for i, why := range reasons {
		if i == reasonsTold {
			break
		}
		e := why.example
		f := finding{Severity: isWarning, Subject: "group " + group(r.Projection, r.Generation), Finding: many(why.streams, "stream") + " parked: the read model stands still for them",
			Evidence: fmt.Sprintf("%s at version %d, %s, since %s: %s", e.Stream, e.Version, many(e.Attempts, "attempt"), e.Since.UTC().Format(time.RFC3339), clip(e.Error, 200))}
		if len(some) < all {
			f.Evidence = fmt.Sprintf("%d of %s parked streams were looked at; %s", len(some), count(all), f.Evidence)
		}
		show := p.call("parked show %s %s", r.Projection, e.Stream)
		switch {
		case why.outdated:
			f.Finding += " until newer code takes them up"
			f.Fix = "start workers of the newer version: they take them up by themselves; " + show + " shows the event"
		default:
			if active {
				f.Severity = isError
			}
			f.Fix = fmt.Sprintf("%s shows the event; mend the code and %s, or leave the event out: %s", show, p.call("parked retry %s --all", r.Projection),
				p.call("parked skip %s %s --version %d --reason WHY --yes", r.Projection, e.Stream, e.Version))
		}
		found = append(found, f)
	}
	return found
}

// reasonOf returns what the errors of streams have in common that are parked for the same
// reason: what differs is the stream and numbers.
func reasonOf(s lease.ParkedStream) string {
	text := strings.ReplaceAll(s.Error, s.Stream, "")
	return s.Outdated + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

const (
	// leftLong is how long a generation that readers have left, or have never seen, is
	// kept without being told of, and retiringLong how long deleting one may take.
	leftLong     = 24 * time.Hour
	retiringLong = time.Hour
)

func lookAtGenerations(ctx context.Context, p *patient) (found []finding, _ error) {
	all, err := p.Generations.All(ctx)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, r := range all[name].Records {
			found = append(found, p.generationFindings(r, all[name].Active)...)
		}
	}
	return found, err
}

func (p *patient) generationFindings(r generations.Record, active generations.Generation) []finding {
	f := finding{Subject: "group " + group(r.Projection, r.Generation), Evidence: fmt.Sprintf("state = %s, version = %d, since %s", r.State, r.Version, r.Changed.UTC().Format(time.RFC3339))}
	since := p.now().Sub(r.Changed)
	retire := p.call("projections retire %s --generation %d --yes", r.Projection, r.Generation)
	switch {
	case r.State == generations.Failed:
		f.Severity, f.Finding = isError, "it could not be built: "+clip(r.Reason, 200)
		f.Fix = fmt.Sprintf("mend what the reason says, then %s; or give it up: %s", p.call("projections resume %s", r.Projection), retire)
	case r.State == generations.Paused:
		f.Severity, f.Finding = isWarning, "it is half built, and paused"
		f.Fix = p.call("projections resume %s", r.Projection) + ", or give it up: " + retire
	case r.State == generations.Retiring && since > retiringLong:
		f.Severity, f.Finding = isWarning, "deleting it was begun and has not ended"
		f.Fix = "the same command goes on: " + retire
	case r.State != generations.Built || r.Generation == active:
		return nil
	case r.Generation > active && r.Left.IsZero():
		f.Severity, f.Finding = isInfo, "it is built, and readers do not see it yet"
		f.Fix = fmt.Sprintf("%s, then %s", p.call("projections verify %s", r.Projection), p.call("projections promote %s --yes", r.Projection))
	default:
		left := p.now().Sub(r.Left)
		f.Severity, f.Finding = isInfo, "readers have left it; it waits in case somebody wants to go back"
		if left > leftLong {
			f.Severity, f.Finding = isWarning, "readers have left it for "+ago(left)+": it takes memory and work, and keeps events from being removed"
		}
		f.Fix = "once nobody wants to go back: " + retire
	}
	return []finding{f}
}

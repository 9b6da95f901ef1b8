package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// holding is a program, as a process, whose reactor teller is never done with what is called
// blocked.
const (
	holding = "holding"
	blocked = "blocked"
)

func holdingApp() App {
	events := shopEvents()
	teller := projector.NewReactor("teller", projector.ReactorConfig{Categories: []string{"cart"}, Events: events})
	projector.OnReact(teller, func(ctx context.Context, e added, _ *eventstore.Recorded) error {
		if e.Item == blocked {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	return App{Name: "shop", Events: events, Projections: []Projection{Keep(carts(1, events), InHashes("cart:current")), Keep(teller, Nowhere())}}
}

// monitored is a namespace whose numbers are compared with those of the server.
type monitored struct {
	*fixture
	client redis.UniversalClient
	store  *redisstore.Store
	keys   *keyspace.Namespace
	// guesses says that the server makes up what it does not know.
	guesses bool
}

const monitoredPartitions = 3

func newMonitored(t *testing.T, client redis.UniversalClient) *monitored {
	ns := testenv.Namespace(t)
	address := ""
	switch of := client.(type) {
	case *redis.ClusterClient:
		address = "redis+cluster://" + of.Options().Addrs[0]
	case *redis.Client:
		address = "redis://" + of.Options().Addr
	}
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: ns, Partitions: monitoredPartitions})
	if err != nil {
		t.Fatal(err)
	}
	return &monitored{
		fixture: &fixture{T: t, app: holdingApp(), namespace: ns, environ: []string{env("redis-url") + "=" + address, env("namespace") + "=" + ns, env("http") + "=off"}},
		client:  client, store: store, keys: keyspace.New(ns, monitoredPartitions), guesses: client.Info(t.Context(), "server").Err() != nil,
	}
}

func (m *monitored) append(stream, item string, qty int64) {
	m.Helper()
	event, err := shopEvents().Encode(added{item, qty})
	if err != nil {
		m.Fatal(err)
	}
	if _, err := m.store.Append(m.Context(), eventstore.MustStreamID("cart", stream), eventstore.Any, event); err != nil {
		m.Fatal(err)
	}
}

// json runs a command, and reads what it prints.
func (m *monitored) json(into any, command string) error {
	r := m.call(append(words(command), "-o", "json")...)
	if r.code != exitDone {
		return fmt.Errorf("%s: code %d: %s", command, r.code, r.err)
	}
	return json.Unmarshal([]byte(r.out), into)
}

// truth is what the server says, of one group in all partitions.
type truth struct {
	undelivered, pending int
	has                  map[string]int // pending, by consumer
	idle                 map[string]time.Duration
	entries              map[string]redis.XPendingExt // pending, by partition and id
}

// asks asks the server. It is an error where what it says does not fit together, because
// something happened meanwhile.
func (m *monitored) asks() (length map[int]int64, groups map[string]*truth, _ error) {
	ctx := m.Context()
	length, groups = make(map[int]int64), make(map[string]*truth)
	for p := range monitoredPartitions {
		key := m.keys.Log(p)
		var err error
		if length[p], err = m.client.XLen(ctx, key).Result(); err != nil {
			return nil, nil, err
		}
		if info, err := m.client.Do(ctx, "xinfo", "stream", key).Slice(); err == nil && info[1] != length[p] {
			return nil, nil, fmt.Errorf("XINFO STREAM says %v, and XLEN %d", info[:2], length[p])
		}
		infos, err := m.client.XInfoGroups(ctx, key).Result()
		if err != nil {
			return nil, nil, err
		}
		for _, info := range infos {
			g := groups[info.Name]
			if g == nil {
				g = &truth{has: make(map[string]int), idle: make(map[string]time.Duration), entries: make(map[string]redis.XPendingExt)}
				groups[info.Name] = g
			}
			after, err1 := m.client.XRange(ctx, key, "("+info.LastDeliveredID, "+").Result()
			summary, err2 := m.client.XPending(ctx, key, info.Name).Result()
			consumers, err3 := m.client.XInfoConsumers(ctx, key, info.Name).Result()
			extended, err4 := m.client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: key, Group: info.Name, Start: "-", End: "+", Count: 1000}).Result()
			if err := errors.Join(err1, err2, err3, err4); err != nil {
				return nil, nil, err
			}
			if !m.guesses && info.Lag != int64(len(after)) || info.Pending != summary.Count || int(summary.Count) != len(extended) {
				return nil, nil, fmt.Errorf("the server disagrees with itself: %+v, %d entries, %+v, %d pending", info, len(after), summary, len(extended))
			}
			g.undelivered += len(after)
			g.pending += int(info.Pending)
			for _, c := range consumers {
				if c.Pending > 0 {
					g.has[c.Name] += int(c.Pending)
				}
				if before, known := g.idle[c.Name]; c.Idle >= 0 && (!known || c.Idle < before) {
					g.idle[c.Name] = c.Idle
				}
			}
			for name, n := range summary.Consumers {
				if c := slices.IndexFunc(consumers, func(c redis.XInfoConsumer) bool { return c.Name == name }); c < 0 || consumers[c].Pending != n {
					return nil, nil, fmt.Errorf("XPENDING says that %s has %d, and XINFO CONSUMERS %+v", name, n, consumers)
				}
			}
			for _, e := range extended {
				g.entries[fmt.Sprint(p, " ", e.ID)] = e
			}
		}
	}
	return length, groups, nil
}

// grown returns an error unless a time went on from what it was, by no more than it took.
func grown(what string, seconds float64, before time.Duration, since time.Time) error {
	if is := time.Duration(seconds * float64(time.Second)); is < before-time.Millisecond || is > before+time.Since(since)+50*time.Millisecond {
		return fmt.Errorf("%s is %s, and the server said %s", what, is, before)
	}
	return nil
}

// agree compares everything that commands say with what the server says.
func (m *monitored) agree() error {
	asked := time.Now()
	length, groups, err := m.asks()
	if err != nil {
		return err
	}
	total := int64(0)
	for _, n := range length {
		total += n
	}
	var logs logsView
	var pending pendingListView
	var workers workersView
	var status statusView
	if err := errors.Join(m.json(&logs, "logs --each"), m.json(&pending, "workers pending --limit 0"), m.json(&workers, "workers ls"), m.json(&status, "status")); err != nil {
		return err
	}

	// XLEN, XINFO STREAM and XINFO GROUPS.
	if logs.Entries != total || status.LogEntries != total || len(logs.Groups) != len(groups) || len(logs.Logs) != monitoredPartitions {
		return fmt.Errorf("logs says %+v, status %d entries, the server %v, %d groups", logs, status.LogEntries, length, len(groups))
	}
	for _, l := range logs.Logs {
		if l.Entries != length[l.Partition] {
			return fmt.Errorf("partition %d has %d entries, and logs says %+v", l.Partition, length[l.Partition], l)
		}
	}
	for _, g := range logs.Groups {
		if want := groups[g.Group]; want == nil || g.Undelivered != want.undelivered || g.Pending != want.pending || g.AtLeast || g.Missing != 0 {
			return fmt.Errorf("logs says %+v, and the server %+v", g, want)
		}
	}
	for _, g := range status.Generations {
		want := groups[group(g.Projection, 1)]
		if g.Undelivered == nil || *g.Undelivered != want.undelivered || *g.Pending != want.pending || *g.Pointers != want.undelivered+want.pending {
			return fmt.Errorf("status says %+v, and the server %+v", g, want)
		}
	}

	// XINFO CONSUMERS and XPENDING.
	has := make(map[string]map[string]int)
	for _, c := range pending.Consumers {
		if has[c.Group] == nil {
			has[c.Group] = make(map[string]int)
		}
		if c.Pending > 0 {
			has[c.Group][c.Session] += int(c.Pending)
		}
		before, known := groups[c.Group].idle[c.Session]
		if c.State != string(lease.Dead) && known != (c.IdleSeconds != nil) {
			return fmt.Errorf("workers pending says %+v, and the server that it knows how idle: %v", c, known)
		}
		if known && c.Pending > 0 && c.State == string(lease.Dead) { // nobody else moves it
			if err := grown(c.Session, *c.IdleSeconds, before, asked); err != nil {
				return err
			}
		}
	}
	outstanding := 0
	for name, want := range groups {
		if !maps.Equal(has[name], want.has) {
			return fmt.Errorf("workers pending says that %v have something of %s, and the server %v", has[name], name, want.has)
		}
		outstanding += want.pending
	}
	if pending.Total != int64(outstanding) || len(pending.Pending) != outstanding {
		return fmt.Errorf("workers pending says %d of %d, and the server %d", len(pending.Pending), pending.Total, outstanding)
	}
	last := ""
	for _, d := range pending.Pending {
		want, there := groups[d.Group].entries[fmt.Sprint(d.Partition, " ", d.Entry)]
		if !there || d.Session != want.Consumer || d.Deliveries != want.RetryCount || m.keys.Partition(d.Stream) != d.Partition || last > d.Entry {
			return fmt.Errorf("workers pending says %+v after %s, and the server %+v", d, last, want)
		}
		last = d.Entry // ids of now have the same number of digits
		if err := grown(d.Entry, d.IdleSeconds, want.Idle, asked); err != nil {
			return err
		}
	}
	for _, w := range workers {
		n := 0
		for _, g := range groups {
			n += g.has[w.Session]
		}
		if int(w.Pending) != n {
			return fmt.Errorf("workers ls says %+v, and the server %d", w, n)
		}
	}
	return nil
}

// holds waits until that many are pending in teller, for a worker in a state, each delivered
// so often, and everything agrees with the server.
func (m *monitored) holds(n int, worker, state string, deliveries int64) {
	m.Helper()
	testenv.Wait(m, waitLong, func() error {
		var v pendingListView
		if err := m.json(&v, "workers pending teller --worker "+worker); err != nil {
			return err
		}
		if v.Total != int64(n) {
			return fmt.Errorf("not %d are pending: %+v", n, v)
		}
		for _, d := range v.Pending {
			// The embedded server has workers read again what they have.
			if d.Worker != worker || d.State != state || d.Deliveries != deliveries && !(m.guesses && d.Deliveries > deliveries) {
				return fmt.Errorf("it is not with %s, %s, %d times: %+v", worker, state, deliveries, d)
			}
		}
		return m.agree()
	})
}

// What status, logs, workers and the metrics say is what XLEN, XINFO and XPENDING say, while
// streams are held up, are another worker's after a kill, are parked, or wait for a group that
// nobody reads.
func TestMonitoringIsTheTruth(t *testing.T) {
	t.Parallel()
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		m := newMonitored(t, client)
		if err := m.agreeOnNothing(); err != nil {
			t.Error(err)
		}
		one := m.startAs(holding, words("run --name one --ttl 500ms --deadline 1h")...)
		m.live(1)
		for i := range 10 {
			m.append(fmt.Sprint("done", i), "tea", 1)
		}
		const held = 7
		for i := range held {
			m.append(fmt.Sprint("held", i), blocked, 1)
		}
		m.append("poison", "mug", badQty)
		testenv.Wait(t, waitLong, m.says("thirteen", "parked", "ls"))
		m.holds(held, "one", "live", 1)

		// A group that nobody reads keeps the logs, and has everything to do.
		log, err := lease.NewLog(client, lease.Config{Namespace: m.namespace, Partitions: monitoredPartitions})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Group(t.Context(), "ghost@1"); err != nil {
			t.Fatal(err)
		}
		m.append("late", "tea", 1)
		m.holds(held, "one", "live", 1)
		m.want(exitDone, words("logs"), "ghost@1", "carts@1", "teller@1")

		one.signal(os.Kill)
		<-one.ended
		m.holds(held, "one", "dead", 1)
		m.want(exitDone, words("workers pending"), "dead", "cart-held")
		m.want(exitDone, words("workers pending --limit 2"), "and 5 more: --limit 0 lists all")

		d := m.serve("--name", "two", "--ttl", "500ms", "--deadline", "1h").ready()
		m.holds(held, "two", "live", 2)
		if got := m.want(exitDone, words("workers pending carts")); !strings.Contains(got, "nothing is pending in carts") {
			t.Errorf("carts is done: %s", got)
		}
		m.want(exitAbsent, words("workers pending nobody"), "nobody")
		d.gives("GET", "/api/v1/workers/pending?limit=2&worker=two", "", http.StatusOK, `"total": 7`, `"deliveries": 2`)
		d.gives("GET", "/api/v1/workers/pending?worker=one", "", http.StatusOK, `"pending": []`)
		d.gives("GET", "/api/v1/logs?each=true", "", http.StatusOK, `"ghost@1"`, `"delivered": `)
		testenv.Wait(t, waitLong, func() error {
			length, groups, err := m.asks()
			if err != nil {
				return err
			}
			return d.measures(length, groups)
		})
	})
}

// measures compares the metrics with what the server says.
func (d *serving) measures(length map[int]int64, groups map[string]*truth) error {
	answer, err := http.Get(d.url + "/metrics")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, n := range length {
		total += n
	}
	want := []string{fmt.Sprintf("projectord_log_entries{store=%q} %d", d.namespace, total)}
	for _, projection := range []string{"carts", "teller"} {
		g := groups[group(projection, 1)]
		labels := fmt.Sprintf("{generation=\"1\",projection=%q,store=%q}", projection, d.namespace)
		want = append(want, fmt.Sprintf("projectord_pending_pointers%s %d", labels, g.pending), fmt.Sprintf("projectord_lag_pointers%s %d", labels, g.pending+g.undelivered))
	}
	want = append(want, fmt.Sprintf("projectord_takeovers_total{generation=\"1\",projection=\"teller\",store=%q} %d", d.namespace, groups["teller@1"].pending))
	for _, line := range want {
		if !strings.Contains(string(text), line+"\n") {
			return fmt.Errorf("the metrics lack %s: %s", line, text)
		}
	}
	return nil
}

// agreeOnNothing looks at a namespace in which nothing has happened.
func (m *monitored) agreeOnNothing() error {
	var logs logsView
	var pending pendingListView
	if err := errors.Join(m.json(&logs, "logs --each"), m.json(&pending, "workers pending")); err != nil {
		return err
	}
	if logs.Entries != 0 || len(logs.Groups) != 0 || len(logs.Logs) != monitoredPartitions || len(pending.Consumers) != 0 || pending.Total != 0 {
		return fmt.Errorf("of nothing they say %+v and %+v", logs, pending)
	}
	return nil
}

// Of a stream it is told how many events are left, as XLEN says.
func TestStreamsShowKept(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	f.grow("cart-1", "tea", long)
	f.work(f.says("66", "get", "carts", "1")) // two were there
	f.wantValue(long+2, exitDone, "streams show cart-1 --limit 1", "kept")
	f.want(exitDone, words("streams truncate cart-1 --before 60 --yes --force --reason test --by ann"))
	kept, err := testenv.Redis(t).XLen(t.Context(), keyspace.New(f.namespace, 2).Stream("cart-1")).Result()
	if err != nil || kept >= long+2 {
		t.Fatal(kept, err)
	}
	f.wantValue(kept, exitDone, "streams show cart-1 --limit 1", "kept")
	f.wantValue(long+2, exitDone, "streams show cart-1 --limit 1", "head")
}

// With very much pending, what is printed is bounded, and the server is asked for it in pages.
func TestMuchIsPending(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t, "--slowlog-max-len", "10000")
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	m := newMonitored(t, client)
	log, err := lease.NewLog(client, lease.Config{Namespace: m.namespace, Partitions: monitoredPartitions})
	if err != nil {
		t.Fatal(err)
	}
	g, err := log.Group(t.Context(), "carts@1")
	if err != nil {
		t.Fatal(err)
	}
	session, err := log.Register(t.Context(), lease.SessionConfig{Worker: "busy", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	member := g.Join(session)
	const much = 100_000
	for done := 0; done < much; {
		pipe := client.Pipeline()
		for range 5000 {
			stream := fmt.Sprint("cart-", done)
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: m.keys.Log(m.keys.Partition(stream)), Values: []string{keyspace.PointerStream, stream, keyspace.PointerHead, "1"}})
			done++
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for read := 0; read < much; {
		b, err := member.Read(t.Context(), session.Partitions(), 1000, 0)
		if err != nil || len(b.Pointers) == 0 {
			t.Fatalf("%d were read: %v", read, err)
		}
		read += len(b.Pointers)
	}
	out := m.want(exitDone, words("workers pending"), "and 99,900 more: --limit 0 lists all", "100,000")
	if lines := strings.Count(out, "\n"); lines > 110 {
		t.Errorf("it prints %d lines", lines)
	}
	m.wantValue(much, exitDone, "workers pending --limit 3", "total")
	var all pendingListView
	if err := m.json(&all, "workers pending --limit 0"); err != nil || len(all.Pending) != much || all.Pending[0].Stream == "" {
		t.Errorf("of all it lists %d, %v", len(all.Pending), err)
	}
	m.want(exitDone, words("logs"), "100,000")

	if err := client.ConfigSet(t.Context(), "slowlog-log-slower-than", "0").Err(); err != nil { // it logs all commands
		t.Fatal(err)
	}
	m.want(exitDone, words("workers pending --limit 1500"), "and 98,500 more")
	commands, err := client.SlowLogGet(t.Context(), -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	pages := 0
	for _, c := range commands {
		if len(c.Args) < 6 || !strings.EqualFold(c.Args[0], "xpending") { // key group from + count
			continue
		}
		pages++
		if n, err := strconv.Atoi(c.Args[5]); err != nil || n > 1000 {
			t.Errorf("it asks for more than a page: %q", c.Args)
		}
	}
	if pages < 2*monitoredPartitions { // one that is slow to come is asked for again
		t.Errorf("%d pages of all partitions were seen, want 2 of each", pages)
	}
}

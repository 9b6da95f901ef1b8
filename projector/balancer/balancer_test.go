package balancer_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/lease"
)

// Streams are assigned once, with their infos, and leave nothing when they are finished.
func TestHandOut(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, partitions := range []int{1, 3} {
			b := open(t, client, partitions)
			announce(t, b, names(300)...)
			one, two := join(t, b, balancer.WorkerConfig{Capacity: 150}), join(t, b, balancer.WorkerConfig{Capacity: 150})
			owned(t, 300, one, two)
			if s := statuses(t, b); len(s) != 300 || s["session-7"].Session == "" || string(s["session-7"].Info) != "info of session-7" {
				t.Error("announced are", len(s), s["session-7"])
			}
			for _, w := range []*balancer.Worker{one, two} {
				for _, n := range assigned(t, w, 150) {
					mustFinish(t, w, n.Stream)
					wantErr(t, w.Finish(t.Context(), n.Assignment), balancer.ErrNotHeld)
				}
			}
			if s := statuses(t, b); len(s) != 0 {
				t.Error("finished streams are announced still:", s)
			}
			for p := range partitions {
				if n, err := client.XLen(t.Context(), logKey(b, p)).Result(); n != 0 || err != nil {
					t.Error("the log has", n, err)
				}
			}
		}
	})
}

// A stream that is announced while a worker has it is assigned to it again when it
// finishes, with the new info.
func TestAnnouncedAgain(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 0)
		w := join(t, b, balancer.WorkerConfig{})
		announce(t, b, "cart")
		first := nextOf(t, w, balancer.Assigned)
		ctx := w.Context(first.Assignment)
		if err := b.Announce(t.Context(), balancer.Announcement{Stream: "cart", Info: []byte("new")}); err != nil {
			t.Fatal(err)
		}
		mustFinish(t, w, "cart")
		second := nextOf(t, w, balancer.Assigned)
		if string(second.Info) != "new" || second.Number <= first.Number || second.Token <= first.Token || ctx.Err() == nil {
			t.Error("assigned again as", second, "after", first, ctx.Err())
		}
		mustFinish(t, w, "cart")
		if s := statuses(t, b); len(s) != 0 || len(w.Notifications()) != 0 {
			t.Error("after all there is", s, len(w.Notifications()))
		}
	})
}

// A stream can be finished by the context that ends with it.
func TestFinishByItsContext(t *testing.T) {
	b := open(t, testenv.Embedded(t), 0)
	w := join(t, b, balancer.WorkerConfig{Capacity: 500})
	announce(t, b, names(500)...)
	for _, n := range assigned(t, w, 500) {
		if err := w.Finish(w.Context(n.Assignment), n.Assignment); err != nil {
			t.Fatal(err)
		}
	}
}

// Streams that are handed back go to another worker, not back to the same, and are not
// finished.
func TestHandBack(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		const n = 30
		b := open(t, client, 0)
		one := join(t, b, balancer.WorkerConfig{Capacity: 2 * n, TTL: waitLong})
		announce(t, b, names(n)...)
		before := assigned(t, one, n)
		two := join(t, b, balancer.WorkerConfig{Capacity: n, TTL: waitLong})
		for stream, first := range before {
			if err := one.HandBack(t.Context(), first.Assignment); err != nil {
				t.Fatal(err)
			}
			second := nextOf(t, two, balancer.Assigned)
			if second.Stream != stream || !second.TakenOver || second.Token <= first.Token || one.Holds(first.Assignment) || !two.Holds(second.Assignment) {
				t.Fatal("handed back it was assigned as", second)
			}
			wantErr(t, one.Finish(t.Context(), first.Assignment), balancer.ErrNotHeld)
		}
		if len(one.Notifications()) > 0 {
			t.Error("the worker was told of", len(one.Notifications()))
		}
		mustFinish(t, two, names(n)...)
	})
}

// A worker that is alone has what it handed back again, after a TTL.
func TestHandBackAlone(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, "cart")
	assigned(t, w, 1)
	if err := w.HandBack(t.Context(), w.Held()...); err != nil {
		t.Fatal(err)
	}
	if len(w.Held()) != 0 {
		t.Error("handed back it is held")
	}
	assigned(t, w, 1)
}

// What is told to wake workers is removed though an old stream is held, behind whose pointer
// nothing is trimmed.
func TestWakesLeaveNothing(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, "old")
	assigned(t, w, 1)
	announce(t, b, "cart")
	for range 3 {
		n := nextOf(t, w, balancer.Assigned)
		if err := w.HandBack(t.Context(), n.Assignment); err != nil {
			t.Fatal(err)
		}
	}
	nextOf(t, w, balancer.Assigned)
	testenv.Wait(t, waitLong, func() error {
		if n, err := client.XLen(t.Context(), logKey(b, 0)).Result(); n != 2 || err != nil {
			return fmt.Errorf("the log has %d entries for 2 streams, %w", n, err)
		}
		return nil
	})
}

// A worker that hands back all the time takes over all the same.
func TestHandBackAllTheTime(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, names(6)...)
	died(t, b, client, 5)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	times := make(map[string]int)
	for enough := 0; enough < 6; {
		n := nextOf(t, w, balancer.Assigned)
		if times[n.Stream]++; times[n.Stream] == 3 {
			enough++
		}
		if err := w.HandBack(t.Context(), n.Assignment); err != nil {
			t.Fatal(err)
		}
	}
}

// What Open refuses.
func TestOpenRefuses(t *testing.T) {
	client := testenv.Redis(t)
	store := testenv.Namespace(t)
	if _, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: store}); err != nil {
		t.Fatal(err)
	}
	b := open(t, client, 3)
	for name, c := range map[string]struct {
		config balancer.Config
		words  []string
	}{
		"Namespace":  {balancer.Config{Namespace: "No"}, []string{"No", "[a-z]"}},
		"Partitions": {balancer.Config{Namespace: b.Namespace(), Partitions: 4}, []string{b.Namespace(), "3 partitions", "set it to 3"}},
		"Many":       {balancer.Config{Partitions: 1025}, []string{"1025"}},
		"Store":      {balancer.Config{Namespace: store}, []string{store, "event store"}},
	} {
		_, err := balancer.Open(t.Context(), client, c.config)
		for _, word := range c.words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error %v lacks %q", name, err, word)
			}
		}
	}
	if _, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: b.Namespace()}); err == nil || !strings.Contains(err.Error(), "balancer") {
		t.Error("an event store was opened in the namespace of a balancer:", err)
	}
	if again, err := balancer.Open(t.Context(), client, balancer.Config{Namespace: b.Namespace()}); err != nil || again.Partitions() != 3 {
		t.Error("the balancer was not opened again:", err)
	}
}

// A client with fewer connections than the reads of a worker take is refused, and the number
// that is named is enough.
func TestPoolTooSmall(t *testing.T) {
	client := testenv.Cluster(t)
	b := open(t, client, 64)
	options := *client.Options()
	with := func(size int) (*balancer.Worker, error) {
		options.PoolSize = size
		client := redis.NewClusterClient(&options)
		t.Cleanup(func() { client.Close() })
		return reopen(t, client, b, 64).Join(t.Context(), balancer.WorkerConfig{TTL: shortTTL})
	}
	_, err := with(10)
	m := regexp.MustCompile(`ClusterOptions.PoolSize to (\d+)`).FindStringSubmatch(fmt.Sprint(err))
	if m == nil {
		t.Fatal("the error is", err)
	}
	need, _ := strconv.Atoi(m[1])
	if _, err := with(need - 1); err == nil {
		t.Error("one less was accepted")
	}
	w, err := with(need)
	if err != nil {
		t.Fatal(err)
	}
	announce(t, b, names(200)...)
	for _, n := range []int{100, 100} { // the capacity
		assigned(t, w, n)
		if err := w.Finish(t.Context(), w.Held()...); err != nil {
			t.Error(err)
		}
	}
	mustClose(t, w)
}

// Bad announcements and settings are refused before anything happens.
func TestBadInput(t *testing.T) {
	b := open(t, testenv.Embedded(t), 0)
	for name, a := range map[string]balancer.Announcement{
		"NoName":   {},
		"LongName": {Stream: strings.Repeat("x", 1025)},
		"LongInfo": {Stream: "x", Info: make([]byte, 64<<10+1)},
	} {
		if err := b.Announce(t.Context(), balancer.Announcement{Stream: "good"}, a); err == nil {
			t.Error(name, "was announced")
		}
	}
	if s := statuses(t, b); len(s) != 0 {
		t.Error("of refused calls was announced", s)
	}
	for name, c := range map[string]balancer.WorkerConfig{
		"Capacity": {Capacity: -1}, "TTL": {TTL: 1}, "Idle": {Idle: -1}, "RecoveryCount": {RecoveryCount: 1001},
		"Retry": {Retry: balancer.Retry{Initial: 2e9, Max: 1e9}}, "Name": {Name: "a b"},
	} {
		if w, err := b.Join(t.Context(), c); err == nil {
			t.Errorf("%s: worker %s joined", name, w.ID())
		}
	}
}

// Every key that comes about is documented, with its type.
func TestKeys(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Balancers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	client := testenv.Redis(t)
	b := open(t, client, 3)
	documented := make(map[string]*regexp.Regexp)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(section, -1) {
		pattern := regexp.QuoteMeta(m[1])
		for name, shape := range map[string]string{`\{ns\}`: `\{` + b.Namespace() + `\}`, `\{ns:p\}`: `\{` + b.Namespace() + `:\d\}`, "<name>": "pod", "<role>": "janitor", "<group>": "workers"} {
			pattern = strings.ReplaceAll(pattern, name, shape)
		}
		documented[m[2]+" "+m[1]] = regexp.MustCompile("^" + m[2] + " " + pattern + "$")
	}
	seen := map[string]bool{"hash {ns}:walks": true} // TestGroupLost has it
	w := join(t, b, balancer.WorkerConfig{Name: "pod", Capacity: 20})
	announce(t, b, names(20)...)
	owned(t, 20, w)
	testenv.Wait(t, waitLong, func() error { return client.Get(t.Context(), "{"+b.Namespace()+"}:role:janitor").Err() })
	for _, key := range keysOf(t, client, b) {
		what := client.Type(t.Context(), key).Val() + " " + key
		found := false
		for name, pattern := range documented {
			if pattern.MatchString(what) {
				seen[name], found = true, true
			}
		}
		if !found {
			t.Errorf("the %s is not documented", what)
		}
	}
	for name := range documented {
		if !seen[name] {
			t.Errorf("the %s is documented, and did not come about", name)
		}
	}
}

var (
	codeInTable = regexp.MustCompile("`([A-Za-z]+(?:\\.[A-Za-z]+)?)`")
	holeRow     = regexp.MustCompile(`(?m)^\| (\d+) \| .* \| (.*) \|$`)
	testName    = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
)

// The guide's tables name tests and identifiers that there are, and a test for each hole.
func TestGuideTables(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/balancer.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, path := range append(files, "../lease/registry_test.go") {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			declared(known, d)
		}
	}
	holes := holeRow.FindAllStringSubmatch(string(text), -1)
	if len(holes) != 32 {
		t.Errorf("the guide has %d holes", len(holes))
	}
	for i, m := range holes {
		tests := testName.FindAllStringSubmatch(m[2], -1)
		if m[1] != strconv.Itoa(i+1) || len(tests) == 0 {
			t.Errorf("row %d of the holes is %s", i+1, m[0])
		}
		for _, name := range tests {
			if !known[name[1]] {
				t.Errorf("there is no %s", name[1])
			}
		}
	}
	_, calls, _ := strings.Cut(string(text), "| theirs | ours |")
	calls, _, _ = strings.Cut(calls, "\n\n")
	for row := range strings.Lines(calls) {
		cells := strings.Split(row, " | ")
		for _, m := range codeInTable.FindAllStringSubmatch(cells[len(cells)-1], -1) {
			if !known[m[1]] && !strings.HasPrefix(m[1], "POD") {
				t.Errorf("the guide names %s, which there is not", m[1])
			}
		}
	}
}

// declared notes what a declaration declares: names, methods and fields as Type.Name.
func declared(known map[string]bool, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			of := d.Recv.List[0].Type
			if star, ok := of.(*ast.StarExpr); ok {
				of = star.X
			}
			name = of.(*ast.Ident).Name + "." + name
		}
		known[name] = true
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					known[n.Name] = true
				}
			case *ast.TypeSpec:
				known[s.Name.Name] = true
				fields, _ := s.Type.(*ast.StructType)
				if fields == nil {
					continue
				}
				for _, f := range fields.Fields.List {
					for _, n := range f.Names {
						known[s.Name.Name+"."+n.Name] = true
						known[n.Name] = true // as in: whose Info
					}
				}
			}
		}
	}
}

// What Redis has lost of who has what is found, and everything is handed out anew.
func TestGroupLost(t *testing.T) {
	client := testenv.Redis(t)
	for name, lose := range map[string]func(key string) error{
		"Group":   func(key string) error { return client.XGroupDestroy(t.Context(), key, "workers").Err() },
		"Log":     func(key string) error { return client.Del(t.Context(), key).Err() },
		"Pending": func(key string) error { return client.XAck(t.Context(), key, "workers", first(t, client, key)).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, client, 0)
			w := join(t, b, balancer.WorkerConfig{Capacity: 20, TTL: shortTTL})
			announce(t, b, names(10)...)
			assigned(t, w, 10)
			if err := lose(logKey(b, 0)); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				wantErr(t, nextOf(t, w, balancer.Disowned).Err, balancer.ErrGroupLost)
			}
			for stream := range assigned(t, w, 10) {
				mustFinish(t, w, stream)
			}
			if s := statuses(t, b); len(s) > 0 {
				t.Error("left are", s)
			}
		})
	}
}

// Streams that no worker can come upon are found, and others are left alone.
func TestHeal(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 2)
		w := join(t, b, balancer.WorkerConfig{Capacity: 3})
		announce(t, b, "held-1", "held-2", "held-3")
		assigned(t, w, 3)
		announce(t, b, names(20)...)
		if n, err := b.Heal(t.Context()); n != 0 || err != nil {
			t.Error("of healthy streams were healed", n, err)
		}
		lost := 0
		for p := range b.Partitions() {
			m := stranger(t, b, client, waitLong)
			batch, err := m.Read(t.Context(), []int{p}, 5, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range batch.Pointers {
				if err := client.XAck(t.Context(), logKey(b, p), "workers", q.ID).Err(); err != nil {
					t.Fatal(err)
				}
				lost++
			}
		}
		if n, err := b.Heal(t.Context()); n != lost || err != nil {
			t.Error("of", lost, "streams were healed", n, err)
		}
		assigned(t, join(t, b, balancer.WorkerConfig{Capacity: 20}), 20)
	})
}

// first returns the id of the first entry of a log.
func first(t *testing.T, client redis.UniversalClient, key string) string {
	t.Helper()
	entries, err := client.XRangeN(t.Context(), key, "-", "+", 1).Result()
	if err != nil || len(entries) == 0 {
		t.Fatal("the log has no entry", err)
	}
	return entries[0].ID
}

// A balancer that Redis has lost is made again as it was by its workers, and where somebody
// made it otherwise before, they end.
func TestBalancerLost(t *testing.T) {
	client := testenv.StartRedis(t).Client(t)
	b := open(t, client, 1)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, "cart")
	assigned(t, w, 1)
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	nextOf(t, w, balancer.Disowned)
	testenv.Wait(t, waitLong, w.Err)
	_, err := balancer.Open(t.Context(), client, balancer.Config{Namespace: b.Namespace(), Partitions: 4})
	wantErr(t, err, lease.ErrPartitions)
	announce(t, b, "cart")
	assigned(t, w, 1)

	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	other := reopen(t, client, b, 4)
	announce(t, other, names(20)...)
	assigned(t, join(t, other, balancer.WorkerConfig{}), 20)
	all := drained(t, w)
	wantErr(t, all[len(all)-1].Err, lease.ErrPartitions)
}

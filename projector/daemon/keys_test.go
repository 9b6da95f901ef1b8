package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// place is a pattern of names in docs/reference/keys.md.
type place struct {
	name, kind string
	matches    *regexp.Regexp
	seen       bool
}

var placeRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z ]+) \\|.*\\|.*\\|.*\\|$")

// documentedPlaces returns the patterns below the headings that begin with a word, for a
// namespace and the full names of its models. A part of a name in <> is what shape says.
func documentedPlaces(t *testing.T, under, namespace string, shapes map[string]string) (all []*place) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs", "reference", "keys.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(string(text), "\n## ") {
		if !strings.HasPrefix(section, under) {
			continue
		}
		for _, m := range placeRow.FindAllStringSubmatch(section, -1) {
			pattern := regexp.QuoteMeta(m[1])
			pattern = strings.ReplaceAll(pattern, `\{ns\}`, `\{`+namespace+`\}`)
			pattern = strings.ReplaceAll(pattern, `\{ns:p\}`, `\{`+namespace+`:\d+\}`)
			for name, shape := range shapes {
				pattern = strings.ReplaceAll(pattern, "<"+name+">", shape)
			}
			all = append(all, &place{name: m[1], kind: m[2], matches: regexp.MustCompile("^" + pattern + "$")})
		}
	}
	return all
}

// wantPlace demands that a name of a kind is documented once.
func wantPlace(t *testing.T, all []*place, name, kind string) {
	t.Helper()
	var found []string
	for _, p := range all {
		if p.matches.MatchString(name) && p.kind == kind {
			p.seen = true
			found = append(found, p.name)
		}
	}
	if len(found) != 1 {
		t.Errorf("the %s %s is documented as %q, want once", kind, name, found)
	}
}

func wantSeen(t *testing.T, all []*place) {
	t.Helper()
	for _, p := range all {
		if !p.seen {
			t.Errorf("%s is documented, and did not come about", p.name)
		}
	}
}

// kindsOfEvents are the types of keys that these events are about.
var kindsOfEvents = map[string]string{
	"hset": "hash", "hincrby": "hash", "hincrbyfloat": "hash", "hdel": "hash",
	"set": "string", "append": "string", "setrange": "string", "sadd": "set",
	"xadd": "stream", "xtrim": "stream", "xgroup-create": "stream", "xdel": "stream",
}

// keyWatch notes the keys that are written in a Redis, also those that are gone soon.
type keyWatch struct {
	mu   sync.Mutex        // guards keys
	keys map[string]string // to their types
}

func watchKeys(t *testing.T, client *redis.Client) *keyWatch {
	w := &keyWatch{keys: make(map[string]string)}
	if err := client.ConfigSet(t.Context(), "notify-keyspace-events", "KEA").Err(); err != nil {
		t.Fatal(err)
	}
	told := client.PSubscribe(t.Context(), "__keyevent@0__:*")
	t.Cleanup(func() { told.Close() })
	if _, err := told.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range told.Channel(redis.WithChannelSize(1 << 20)) {
			if kind, ok := kindsOfEvents[strings.TrimPrefix(m.Channel, "__keyevent@0__:")]; ok {
				w.mu.Lock()
				w.keys[m.Payload] = kind
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// all returns the keys that were written until now, and those that are there.
func (w *keyWatch) all(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	const last = "the last of them"
	if err := client.Set(t.Context(), last, "", 0).Err(); err != nil {
		t.Fatal(err)
	}
	testenv.Wait(t, waitLong, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.keys[last] == "" {
			return fmt.Errorf("%d keys are noted so far", len(w.keys))
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, last)
	client.Del(t.Context(), last)
	keys := client.Scan(t.Context(), 0, "*", 1000).Iterator()
	for keys.Next(t.Context()) {
		w.keys[keys.Val()] = client.Type(t.Context(), keys.Val()).Val()
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return w.keys
}

// adds appends an event by the command line.
func (f *fixture) adds(stream, item string, qty int) {
	f.Helper()
	f.want(exitDone, []string{"streams", "append", stream, "--type", "added", "--data", fmt.Sprintf(`{"item":%q,"qty":%d}`, item, qty)})
}

// TestKeys holds docs/reference/keys.md against the keys of a namespace that everything
// happens in.
func TestKeys(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	f := bare(t, shopApp(1)).with(env("redis-url")+"="+server.URL(), env("snapshots")+"=redis", env("snapshot-every")+"=1")
	w := watchKeys(t, client)
	for range long {
		f.adds("cart-1", "tea", 1)
	}
	f.adds("cart-2", "mug", badQty)
	f.adds("cart-3", "mug", 1)
	f.work(both(f.says("tea", "get", "carts", "1"), f.says("thirteen", "parked", "ls"), f.says("tea", "get", "items", "tea"), f.says("cart-1", "snapshots", "ls")), "--name", "one")
	f.want(exitDone, []string{"parked", "skip", "carts", "cart-2", "--version", "1", "--reason", "a test", "--yes"})

	// A generation is built at a rate, and readers see it.
	two := f.as(shopApp(2))
	f.want(exitDone, words("projections rebuild items --rate 1000000"))
	two.want(exitDone, words("projections rebuild carts --rate 1000000"))
	two.work(both(two.says("2           2        built", "status"), two.says("mug", "get", "carts", "3", "--generation", "2")), "--name", "two")
	two.want(exitDone, words("projections promote carts --now --yes"))

	// A worker is asked to end, a stream is deleted, and another one cut by force.
	worker := two.inBackground("run", "--http", "off", "--name", "three")
	two.live(1)
	two.want(exitDone, words("workers drain three --wait"))
	testenv.Wait(t, waitLong, worker.ended)
	f.want(exitDone, []string{"streams", "delete", "cart-3", "--reason", "a test", "--yes"})
	f.want(exitDone, []string{"streams", "truncate", "cart-1", "--before", "60", "--force", "--reason", "a test", "--yes"})

	all := documentedPlaces(t, "Redis", f.namespace, map[string]string{
		"stream": "cart-[0-9]", "group": "(carts|items)@[0-9]", "projection": "(carts|items)", "generation": "[0-9]",
		"definition": "carts", "model": f.namespace + ":(cart:current|item:totals)", "key": "[a-z0-9]+", "name": "(one|two|three)", "role": "(janitor|promote:carts|(walk|fill):(carts|items)@[12])",
	})
	for key, kind := range w.all(t, client) {
		wantPlace(t, all, key, kind)
	}
	wantSeen(t, all)
}

// watchTables notes the tables that are created in a Postgres, also those that are gone
// soon.
const watchTables = `
CREATE TABLE public.created (name text, kind text);
CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.created SELECT c.relname, c.relkind FROM pg_event_trigger_ddl_commands() d JOIN pg_class c ON c.oid = d.objid
	WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v');
END $$;
CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION public.note();`

// TestTables does the same with the tables.
func TestTables(t *testing.T) {
	t.Parallel()
	f := bare(t, tablesApp()).with(env("postgres-url")+"="+testenv.Postgres(t), env("snapshots")+"=postgres")
	var url string
	for _, v := range f.environ {
		if value, ok := strings.CutPrefix(v, env("postgres-url")+"="); ok {
			url = value
		}
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	if _, err := conn.Exec(t.Context(), watchTables); err != nil {
		t.Fatal(err)
	}
	f.adds("cart-1", "tea", 1)
	f.work(both(f.says("tea", "get", "carts", "1"), f.says("qty", "get", "items", "tea")))
	f.want(exitDone, words("projections rebuild items --again"))
	f.want(exitDone, words("projections rebuild carts --again"))
	f.work(both(f.says("2           1        built", "status"), f.says("qty", "get", "items", "tea", "--generation", "2"), f.says("tea", "get", "carts", "1", "--generation", "2")))

	all := documentedPlaces(t, "Postgres", f.namespace, map[string]string{"model": "(carts|items)", "projection": "items", "generation": "[0-9]"})
	rows, err := conn.Query(t.Context(), `SELECT name, kind FROM public.created UNION
		SELECT c.relname, c.relkind::text FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p', 'v')`, f.namespace)
	if err != nil {
		t.Fatal(err)
	}
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		wantPlace(t, all, name, map[string]string{"r": "table", "p": "partitioned table", "v": "view"}[kind])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	wantSeen(t, all)
}

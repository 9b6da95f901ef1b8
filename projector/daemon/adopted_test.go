package daemon

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/adopt"
)

// adoptingApp is the shop, which adopts what is put into carts elsewhere.
func adoptingApp(keys ...string) App {
	app := shopApp(1)
	app.Adopt = func(context.Context, *Backends) ([]adopt.Source, error) {
		return []adopt.Source{{Name: "till", Keys: keys, Decode: adopt.Fields{
			Category: "cart", ID: "cart", Type: "added", Numbers: []string{"qty"},
		}.Decode}}, nil
	}
	return app
}

// xadd adds an entry by XADD, and returns its id.
func (f *fixture) xadd(key string, fields ...string) string {
	f.Helper()
	id, err := testenv.Redis(f.T).XAdd(f.Context(), &redis.XAddArgs{Stream: key, Values: fields}).Result()
	if err != nil {
		f.Fatal(err)
	}
	return id
}

// parkedTill returns a shop with two keys that are parked, and how to skip the entry of the
// second.
func parkedTill(t *testing.T) (f *fixture, keys []string, skipped string) {
	f = shop(t)
	keys = []string{f.namespace + "_a", f.namespace + "_b"}
	var bad string
	for _, key := range keys {
		bad = f.xadd(key, "cart", "1", "item", "tea", "qty", "two")
	}
	f.as(adoptingApp(keys...)).work(both(f.says(keys[0], "adopted", "ls"), f.says(keys[1], "adopted", "ls")))
	return f, keys, keys[1] + " " + bad + " --reason r --by ann"
}

func TestAdopted(t *testing.T) {
	t.Parallel()
	f := shop(t)
	key := f.namespace + "_till"
	f.want(exitDone, words("adopted ls"), "nothing is adopted")
	if out := f.want(exitDone, words("adopted ls -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}
	f.want(exitAbsent, words("adopted ls till"), "there is no source till", "nothing was adopted yet")
	f.want(exitAbsent, words("adopted retry till k"), "there is no source till")

	with := f.as(adoptingApp(key))
	f.xadd(key, "cart", "1", "item", "tea", "qty", "2")
	bad := f.xadd(key, "cart", "1", "item", "tea", "qty", "two")
	f.xadd(key, "cart", "1", "item", "mug", "qty", "1")
	log := with.work(both(f.says(`"two", which is no number`, "adopted", "ls"), f.says("tea", "get", "carts", "1")))
	if !strings.Contains(log, "a key is parked") {
		t.Errorf("it logs %s", log)
	}

	// What follows takes no code.
	f = f.as(App{Name: "projectord"})
	f.want(exitDone, words("adopted ls"), "SOURCE  KEY", "parked  "+bad, `field "qty" is "two", which is no number`)
	f.want(exitAbsent, words("adopted ls tills"), "there is no source tills in namespace", "only till")
	f.wantValue("parked", exitDone, "adopted ls till", "0.state")
	f.wantValue("two", exitDone, "adopted ls till", "0.fields.2.value")
	f.wantValue(2, exitDone, "adopted ls till", "0.behind")
	f.wantValue(0, exitDone, "adopted ls till", "0.lost")
	f.want(exitDone, words("streams show cart-1 -o json"), `"adopted_key": "`+key+`"`)
	f.want(exitAbsent, words("adopted retry till other"), "other is not parked in source till", "adopted ls till lists what is")

	skip := []string{"adopted", "skip", "till", key, bad, "--by", "ann"}
	f.want(exitUsage, skip, "--reason is missing")
	f.want(exitUsage, words("adopted skip till k 7 --reason x"), "is no id of an entry")
	skip = append(skip, "--reason", "a slip")
	f.want(exitUnconfirmed, skip, "source till would leave out entry "+bad, "--yes does it")
	f.want(exitAbsent, words("adopted skip till "+key+" 7-7 --by ann --reason x --yes"), "not parked at 7-7, but at "+bad)
	f.want(exitAbsent, words("adopted skip till other 7-7 --by ann --reason x"), "other of source till is not parked")

	// Completed are sources, and what is parked.
	for args, want := range map[string]string{"ls": "till", "retry till": key, "skip till " + key: bad} {
		f.want(exitDone, append(words("__complete adopted "+args), ""), want+"\n")
	}

	f.want(exitDone, words("adopted retry till "+key), "is tried again from where it stands")
	f.want(exitAbsent, append(skip, "--yes"), "is not parked")
	with.work(f.says("parked", "adopted", "ls"))
	f.want(exitDone, append(skip, "--yes"), "leaves out entry "+bad)
	with.work(with.says("mug", "get", "carts", "1"))
	f.wantValue("reading", exitDone, "adopted ls", "0.state")
	f.wantValue(0, exitDone, "adopted ls", "0.behind")

	// The keys are those that are documented, and gone is what is gone.
	client := testenv.Redis(t)
	all := documentedPlaces(t, "Adopted", f.namespace, map[string]string{"source": "till"})
	for _, name := range []string{"adopted", "adopted:till", "adopted_skipped:till"} {
		name = "{" + f.namespace + "}:" + name
		kind, err := client.Type(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		wantPlace(t, all, name, kind)
	}
	wantPlace(t, all, "{"+f.namespace+"}:adopted_parked:till", "hash")
	wantSeen(t, all)
	if err := client.Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
	f.wantValue("gone", exitDone, "adopted ls", "0.state")
}

// TestAdoptedElsewhereDown checks that a source whose Redis is down is listed, and others with
// it; and that what is not parked cannot be skipped, with --yes or without.
func TestAdoptedElsewhereDown(t *testing.T) {
	t.Parallel()
	f := shop(t)
	server := testenv.StartRedis(t)
	away, here := server.Client(t), f.namespace+"_here"
	app := adoptingApp(here)
	near := app.Adopt
	app.Adopt = func(ctx context.Context, b *Backends) ([]adopt.Source, error) {
		all, err := near(ctx, b)
		far := all[0]
		far.Name, far.Keys, far.Client = "far", []string{"k"}, away
		return append(all, far), err
	}
	f.xadd(here, "cart", "1", "item", "tea", "qty", "2")
	if err := away.XAdd(t.Context(), &redis.XAddArgs{Stream: "k", Values: []string{"cart", "2", "item", "mug", "qty", "1"}}).Err(); err != nil {
		t.Fatal(err)
	}
	f = f.as(app)
	f.work(both(f.says(here, "adopted", "ls"), f.says("far", "adopted", "ls")))
	server.Kill()
	f.want(exitDone, words("adopted ls"), here, "the Redis of the source does not tell")
	f.wantValue("k", exitDone, "adopted ls far", "0.key")
	f.wantValue(0, exitDone, "adopted ls till", "0.behind")
	f.want(exitAbsent, words("adopted skip till "+here+" 7-7 --by ann --reason x"), "is not parked at 7-7")
}

func TestAdoptTwice(t *testing.T) {
	t.Parallel()
	f := shop(t)
	app := adoptingApp("k")
	once := app.Adopt
	app.Adopt = func(ctx context.Context, b *Backends) ([]adopt.Source, error) {
		all, err := once(ctx, b)
		return append(all, all...), err
	}
	f.as(app).want(exitUsage, words("run"), "two sources \"till\"")
	app.Adopt = func(ctx context.Context, b *Backends) ([]adopt.Source, error) {
		return []adopt.Source{{Name: "till", Keys: []string{"k"}}}, nil
	}
	f.as(app).want(exitUsage, words("run"), "source till has no Decode")
}

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/examples/cart/shop"
)

// acceptance returns the directory with the real history for tests that take minutes
// with it, or skips them; `make acceptance` runs them.
func acceptance(t *testing.T) (dir string) {
	t.Helper()
	dir, found := uci(t)
	if !found || os.Getenv("PROJECTORD_TEST_ACCEPTANCE") == "" {
		t.Skip("the UCI data is not there, or the test is to be short; make acceptance runs it")
	}
	return dir
}

// parts writes a packed history in parts of equal size, each of which begins with those
// before it.
func parts(t *testing.T, path string, n int) (files []string) {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		end := len(all) * (i + 1) / n
		end += bytes.IndexByte(all[end-1:], '\n') // the last line ends with one too
		files = append(files, written(t, "history", string(all[:end])))
	}
	return files
}

// The projections of the shop: those that make a document of each cart, and those of rows
// that carts share.
var (
	stateful = []string{shop.CurrentProjection, shop.ChainProjection, shop.SummaryProjection}
	shared   = []string{shop.ProductsProjection, shop.OrdersProjection, shop.DaysProjection}
)

// TestRemoval has the listings stay true through rebuilds, promotions, damaged snapshots,
// removed events and a tombstone.
func TestRemoval(t *testing.T) {
	t.Parallel()
	t.Run("Generated", func(t *testing.T) {
		t.Parallel()
		f := generate(44, 2_500)
		answers := make(map[string]string)
		for name, text := range f.inRedis {
			answers[name] = sum(text)
		}
		for name, text := range f.inPostgres {
			answers[name] = sum(text)
		}
		files := f.parts(t, 5)
		removing{files: files[3:], answers: answers, keep: 10, cut: 20}.run(t)
	})
	t.Run("UCI", func(t *testing.T) {
		dir := acceptance(t)
		answers := make(map[string]string)
		for name, l := range readTruth(t, dir).Listings {
			answers[name] = l.SHA256
		}
		all := filepath.Join(dir, "events.ndjson.zst")
		removing{files: []string{parts(t, all, 10)[8], all}, answers: answers, keep: 20, cut: 1_000}.run(t)
	})
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// removing is a test of what is removed from a history.
type removing struct {
	files   []string          // most of the history, and all of it
	answers map[string]string // what the listings of all of it hash to
	keep    int               // how many events are wanted of a cart
	cut     int               // how many carts at least are to be cut
}

func (r removing) run(t *testing.T) {
	t.Helper()
	flags, client, namespace := space(t)
	both := withPostgres(t, flags)
	command := func(words ...string) []string { return append(words, both...) }
	snapshotting := command("--snapshots", "redis", "--snapshot-every", "1")
	listing := func(name string) string { return mustCart(t, command("listing", name)...) }
	stage := func(what string) map[string]string {
		t.Helper()
		texts := make(map[string]string)
		for name := range r.answers {
			texts[name] = listing(name)
		}
		t.Logf("%s: %s", what, hashes(texts))
		return texts
	}
	same := func(what string, before map[string]string) {
		t.Helper()
		if after := stage(what); !maps.Equal(after, before) {
			t.Errorf("%s: the listings are other ones", what)
		}
	}
	projections := append(slices.Clone(stateful), shared...)

	mustCart(t, append([]string{"import", r.files[0]}, flags...)...)
	w := startWorker(t, snapshotting...)
	waitForAll(t, both...)
	before := stage("projected")
	for _, name := range projections {
		want(t, 0, about(both, "rebuild", name, "--wait"), "generation 2 of "+name)
		waitBuiltAs(t, name, 2, both...)
		want(t, 0, about(both, "verify", name), ", 0 differ")
	}
	same("rebuilt", before)
	for _, name := range projections {
		want(t, 0, about(both, "promote", name, "--yes"), "readers see generation 2 of "+name)
	}
	same("promoted", before)
	w.stop()

	// Snapshots are damaged, and then all events go that nobody needs.
	n, bad := damage(t, client, namespace)
	t.Logf("a bit is flipped in %d of %d snapshots", len(bad), n)
	report := retained(t, command(keep(r.keep), "--list", fmt.Sprint(1<<30))...)
	t.Logf("retention: %d carts, %d cut by %d events, %d held", report.Streams, report.Cut, report.Events, report.Held)
	if report.Cut < r.cut {
		t.Errorf("%d carts were cut; want %d or more", report.Cut, r.cut)
	}
	whole := make(map[string]bool)
	for _, h := range report.HeldStreams {
		whole[h.Stream] = h.Needed == 1
	}
	for _, stream := range bad {
		if !whole[stream] {
			t.Errorf("%s has a damaged snapshot, and was cut", stream)
		}
	}
	same("cut", before)
	w = startWorker(t, snapshotting...)
	mustCart(t, append([]string{"import", r.files[1]}, flags...)...)
	waitForAll(t, both...)
	wantAnswers := func(what string, names ...string) map[string]string {
		t.Helper()
		texts := stage(what)
		for _, name := range names {
			if got := sum(texts[name]); got != r.answers[name] {
				t.Errorf("%s: the listing %s hashes to %s; want %s", what, name, got, r.answers[name])
			}
		}
		return texts
	}
	all := slices.Sorted(maps.Keys(r.answers))
	wantAnswers("cold workers, and the rest imported", all...)
	for _, name := range projections {
		waitBuiltAs(t, name, 1, both...)
		want(t, 0, about(both, "rollback", name, "--yes"), "readers see generation 1 of "+name)
	}
	wantAnswers("rolled back", all...)
	w.stop()

	// What documents there are is forgotten: they are made of snapshots and what is left.
	w = startWorker(t, both...)
	for _, name := range stateful {
		want(t, 0, about(both, "rebuild", name, "--again", "--wait"), "generation 3 of "+name)
		waitBuiltAs(t, name, 3, both...)
		want(t, 0, about(both, "promote", name, "--generation", "3", "--yes"), "readers see generation 3 of "+name)
	}
	truth := wantAnswers("built anew of what is left", all...)
	wantSummaries(t, truth["carts"], both...)

	gone, _ := longest(truth["chain"])
	want(t, 0, append([]string{"streams", "delete", "cart-" + gone, "--tombstone", "--reason", "asked to be forgotten", "--yes"}, flags...), "is deleted for good")
	waitForAll(t, both...)
	left := stage("without " + gone)
	for _, name := range inRedis {
		if left[name] != without(truth[name], gone) {
			t.Errorf("the listing %s is not what it was less %s", name, gone)
		}
	}
	wantAnswers("rows that carts share", inPostgres...)
	wantSummaries(t, without(truth["carts"], gone), both...)
	want(t, exitAbsent, append([]string{"show", gone}, flags...), "was deleted at version")
	w.stop()
}

// hashes is the beginning of what listings hash to.
func hashes(texts map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		all = append(all, name+" "+sum(texts[name])[:8])
	}
	return strings.Join(all, ", ")
}

// damage flips a bit of some snapshots, in bytes all over them, and returns how many
// snapshots there are, and the streams of those.
func damage(t *testing.T, client *redis.Client, namespace string) (n int, damaged []string) {
	t.Helper()
	keys, err := client.Keys(t.Context(), "{"+namespace+":*}:snapshot:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	for i := 0; i < len(keys); i += 7 {
		text, err := client.Get(t.Context(), keys[i]).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		text[31*len(damaged)%len(text)] ^= 1 << (len(damaged) % 8)
		if err := client.Set(t.Context(), keys[i], text, 0).Err(); err != nil {
			t.Fatal(err)
		}
		damaged = append(damaged, keys[i][strings.LastIndexByte(keys[i], ':')+1:])
	}
	if len(damaged) == 0 {
		t.Fatal("there are no snapshots")
	}
	return len(keys), damaged
}

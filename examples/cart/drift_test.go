package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
)

// waitBuiltAs waits until a generation of a projection is built and up to date.
func waitBuiltAs(t *testing.T, projection string, generation int, flags ...string) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		text := mustCart(t, append([]string{"status", "-o", "json"}, flags...)...)
		for _, p := range parsedStatus(t, text) {
			for _, g := range p.Generations {
				if p.Projection == projection && g.Generation == generation && g.State == "built" && g.Behind != nil && g.Behind.Events == 0 && !g.Behind.Estimated {
					return nil
				}
			}
		}
		return fmt.Errorf("%s is not built: %s", projection, text)
	})
}

// Code of totals that is wrong is found out before readers see what it made: the rows
// that differ are listed, and no others, against the other generation and the events.
func TestWrongTotalsAreFound(t *testing.T) {
	t.Parallel()
	f := generate(36, 600)
	flags, _, _ := space(t)
	both := withPostgres(t, flags)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	startWorker(t, both...).begun() // else generation 1 might be of the wrong code
	startWorker(t, append(slices.Clone(both), "--code", fmt.Sprint(wrongCode))...)
	waitForAll(t, opened(t, both...))
	waitBuiltAs(t, shop.ProductsProjection, 2, both...)
	verify := func(status int, more ...string) result {
		t.Helper()
		return want(t, status, slices.Concat([]string{"verify", shop.ProductsProjection}, more, both))
	}
	var rows []string
	for _, item := range wrongItems {
		rows = append(rows, "row "+item)
	}
	code := []string{"--code", fmt.Sprint(wrongCode)}
	r := verify(1)
	if got := listedAs(r, ":\n"); !slices.Equal(got, rows) || !strings.Contains(r.out, "6 rows of generation 2 compared with generation 1, 2 differ") ||
		!strings.Contains(r.out, "removed differs in 2 rows") || strings.Contains(r.out, "added") {
		t.Errorf("listed are %v: %s", got, r.out)
	}
	for name, r := range map[string]result{
		"the old rows and the old code": verify(0, "--fold"),
		"the new rows and the new code": verify(0, append(code, "--fold", "--generation", "2")...),
		"with what differs ignored":     verify(0, "--ignore", "removed,removed_milli"),
	} {
		if !strings.Contains(r.out, "6 rows") || !strings.Contains(r.out, ", 0 differ") {
			t.Errorf("%s: %s", name, r.out)
		}
	}
	for _, name := range []string{shop.OrdersProjection, shop.DaysProjection} {
		want(t, 0, slices.Concat([]string{"verify", name, "--fold"}, both), "rows of generation 1 compared with the events, 0 differ")
	}

	// Somebody writes where he should not.
	at := opened(t, both...)
	for _, statement := range []string{
		`UPDATE %s.product_totals_1 SET added = added + 1 WHERE _key = '22139'`,
		`DELETE FROM %s.product_totals_1 WHERE _key = '85123a'`,
		`INSERT INTO %s.product_totals_1 (_key) VALUES ('made up')`,
	} {
		if _, err := at.pool.Exec(t.Context(), fmt.Sprintf(statement, at.namespace)); err != nil {
			t.Fatal(err)
		}
	}
	r = want(t, 1, slices.Concat([]string{"drift", shop.ProductsProjection}, both), "cart rebuild product_totals --wait")
	if got := listedAs(r, ":\n"); !slices.Equal(got, []string{"row 22139", "row 85123a", "row made up"}) {
		t.Errorf("listed are %v: %s", got, r.out)
	}
	want(t, 2, slices.Concat([]string{"heal", shop.ProductsProjection, "any"}, both), "share the rows of product_totals", "cart rebuild product_totals --wait")
}

// Documents that something else wrote to are found by looking at all carts or at a share
// of them that a seed decides, and are made anew, one or all.
func TestDriftAndHeal(t *testing.T) {
	t.Parallel()
	f := generate(37, 300)
	flags, client, namespace := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	mustCart(t, append([]string{"project"}, flags...)...)
	var carts []string
	for line := range strings.Lines(f.inRedis["carts"]) {
		carts = append(carts, strings.Split(line, "\t")[0])
	}
	spoil := func(carts ...string) {
		t.Helper()
		for _, c := range carts {
			if err := client.HIncrBy(t.Context(), namespace+":cart:current:"+c, "adds", 1).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := current(flags, "drift", "--share", "1", "--rate", "0")
	want(t, 0, all, fmt.Sprintf("%d carts of generation 1 compared with the events, 0 differ", len(carts)))
	spoil(carts[3], carts[7], carts[11])
	r := want(t, 1, all, "3 differ", "adds differs in 3 carts", "cart heal cart_current CART makes one anew")
	if got := listedAs(r, ", at "); !slices.Equal(got, []string{"cart-" + carts[3], "cart-" + carts[7], "cart-" + carts[11]}) {
		t.Errorf("listed are %v", got)
	}
	want(t, 0, current(flags, "heal", carts[3]), "cart "+carts[3]+" in generation 1 of cart_current is made anew, of all its")
	want(t, 1, current(flags, "heal", "nobody"), "there is no cart nobody")
	want(t, 1, current(flags, "heal", carts[3], "--generation", "2"), "no generation 2")
	want(t, 2, current(flags, "heal", carts[3], "--code", "2"), "of version 1, and this code")
	want(t, 1, append(all, "--heal"), "2 differ", "2 carts were healed", "look for what changed them")
	want(t, 0, all, "0 differ")
	wantListings(t, f.inRedis, flags...)

	r = want(t, 0, current(flags, "drift"), "looking at a share of 0.1 of the carts of generation 1 of cart_current, by --seed ", ", 0 differ")
	_, seed, _ := strings.Cut(r.out, "--seed ")
	seed, _, _ = strings.Cut(seed, "\n")
	if again := want(t, 0, current(flags, "drift", "--seed", seed)); again.out != r.out {
		t.Errorf("again it says %q, and before %q", again.out, r.out)
	}
}

// A generation that nobody sees is deleted when that is said, and the memory it took is
// free.
func TestRetireCommand(t *testing.T) {
	t.Parallel()
	f := generate(38, 100)
	flags, client, namespace := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	mustCart(t, append([]string{"project"}, flags...)...)
	w := startWorker(t, append(slices.Clone(flags), "--code", "2", "--leave-old")...)
	want(t, 0, current(flags, "rebuild", "--code", "2", "--wait"))
	keys := func() int { return len(client.Keys(t.Context(), namespace+":cart:current@2:*").Val()) }
	if keys() == 0 {
		t.Fatal("nothing was built")
	}
	want(t, 1, current(flags, "retire", "--generation", "1", "--yes"), "readers see: cart promote")
	want(t, 1, current(flags, "retire", "--generation", "5", "--yes"), "no generation 5")
	want(t, 2, current(flags, "retire", "--generation", "2"), "generation 2 of cart_current, version 2 of the code, would be deleted", "--yes does it")
	if keys() == 0 {
		t.Error("it was deleted without --yes")
	}
	want(t, 2, current(flags, "retire", "--generation", "2", "--yes"), "is of version 2, and this code of version 1", "call it with --code 2")
	want(t, 0, current(flags, "retire", "--generation", "2", "--code", "2", "--yes"), "generation 2 of cart_current is deleted; readers see generation 1")
	if n := keys(); n > 0 {
		t.Errorf("%d documents are left", n)
	}
	if _, ok := statusOf(t, 2, flags...); ok {
		t.Error("status still knows of it")
	}
	w.stop()
	wantListings(t, f.inRedis, flags...)
}

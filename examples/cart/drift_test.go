package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
)

// waitBuiltAs waits until a generation of a projection is built and up to date.
func waitBuiltAs(t *testing.T, projection string, generation int, flags ...string) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		g, ok := statusOf(t, projection, generation, flags...)
		if !ok || !g.upToDate() {
			return fmt.Errorf("generation %d of %s is %+v", generation, projection, g)
		}
		return nil
	})
}

// Code of totals that is wrong is found out before readers see what it made: the rows
// that differ are listed, and no others, against the other generation and the events.
func TestWrongTotalsAreFound(t *testing.T) {
	t.Parallel()
	f := generate(36, 600)
	flags, _, namespace := space(t)
	both := withPostgres(t, flags)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	startWorker(t, both...).begun() // else generation 1 might be of the wrong code
	startWorker(t, append(slices.Clone(both), code(wrongCode))...)
	waitForAll(t, both...)
	waitBuiltAs(t, shop.ProductsProjection, 2, both...)
	verify := func(status int, more ...string) result {
		t.Helper()
		return want(t, status, about(both, "verify", shop.ProductsProjection, more...))
	}
	var rows []string
	for _, item := range wrongItems {
		rows = append(rows, "row "+item)
	}
	r := verify(exitWrong)
	if got := listedAs(r, ":\n"); !slices.Equal(got, rows) || !strings.Contains(r.out, "6 rows of generation 2 compared with generation 1, 2 differ") ||
		!strings.Contains(r.out, "removed differs in 2 rows") || strings.Contains(r.out, "added") {
		t.Errorf("listed are %v: %s", got, r.out)
	}
	for name, r := range map[string]result{
		"the old rows and the old code": verify(0, "--fold"),
		"the new rows and the new code": verify(0, code(wrongCode), "--fold", "--generation", "2"),
		"with what differs ignored":     verify(0, "--ignore", "removed,removed_milli"),
	} {
		if !strings.Contains(r.out, "6 rows") || !strings.Contains(r.out, ", 0 differ") {
			t.Errorf("%s: %s", name, r.out)
		}
	}
	for _, name := range []string{shop.OrdersProjection, shop.DaysProjection} {
		want(t, 0, about(both, "verify", name, "--fold"), "rows of generation 1 compared with the events, 0 differ")
	}

	// Somebody writes where he should not.
	conn, err := pgx.Connect(t.Context(), both[len(both)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range []string{
		`UPDATE %s.product_totals_1 SET added = added + 1 WHERE _key = '22139'`,
		`DELETE FROM %s.product_totals_1 WHERE _key = '85123a'`,
		`INSERT INTO %s.product_totals_1 (_key) VALUES ('made up')`,
	} {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf(statement, namespace)); err != nil {
			t.Fatal(err)
		}
	}
	r = want(t, exitWrong, about(both, "verify", shop.ProductsProjection, "--fold"), "cart projections rebuild product_totals", "row made up is missing in the events", "row 85123a is missing in generation 1")
	if got := listedAs(r, ":\n"); !slices.Equal(got, []string{"row 22139"}) {
		t.Errorf("listed are %v: %s", got, r.out)
	}
	want(t, exitUsage, about(both, "heal", shop.ProductsProjection, "cart-any"), "share the rows of product_totals", "cart projections rebuild product_totals")
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
	all := current(flags, "verify", "--fold")
	want(t, 0, all, fmt.Sprintf("%d documents of generation 1 compared with the events, 0 differ", len(carts)))
	spoil(carts[3], carts[7], carts[11])
	r := want(t, exitWrong, all, "3 differ", "adds differs in 3 documents", "--heal makes documents anew")
	if got := listedAs(r, ", at "); !slices.Equal(got, []string{"cart-" + carts[3], "cart-" + carts[7], "cart-" + carts[11]}) {
		t.Errorf("listed are %v", got)
	}
	want(t, 0, current(flags, "heal", "cart-"+carts[3]), "cart-"+carts[3]+" in generation 1 of cart_current is what its ")
	want(t, exitAbsent, current(flags, "heal", "cart-nobody"), "there is no stream cart-nobody")
	want(t, exitAbsent, current(flags, "heal", "cart-"+carts[3], "--generation", "2"), "no generation 2")
	want(t, exitUsage, current(flags, "heal", "cart-"+carts[3], code(2)), "of version 1, and this code")
	want(t, exitWrong, append(all, "--heal"), "2 differ", "2 documents differed, and were healed", "look for what changed them")
	want(t, 0, all, "0 differ")
	wantListings(t, f.inRedis, flags...)

	some := current(flags, "verify", "--fold", "--share", "0.1", "--seed", "17", "--rate", "50000")
	r = want(t, 0, some, ", 0 differ")
	if again := want(t, 0, some); again.out != r.out {
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
	w := startWorker(t, append(slices.Clone(flags), code(2), "--leave-old")...)
	want(t, 0, current(flags, "rebuild", code(2), "--wait"))
	keys := func() int { return len(client.Keys(t.Context(), namespace+":cart:current@2:*").Val()) }
	if keys() == 0 {
		t.Fatal("nothing was built")
	}
	want(t, exitFailed, current(flags, "retire", "--generation", "1", "--yes"), "readers see: promote or roll back")
	want(t, exitAbsent, current(flags, "retire", "--generation", "5", "--yes"), "no generation 5")
	want(t, exitUnconfirmed, current(flags, "retire", "--generation", "2"), "generation 2 of cart_current, version 2 of the code, would be deleted", "--yes does it")
	if keys() == 0 {
		t.Error("it was deleted without --yes")
	}
	want(t, exitUsage, current(flags, "retire", "--generation", "2", "--yes"), "is of version 2, and this code of version 1", "use the program of that version")
	want(t, 0, current(flags, "retire", "--generation", "2", code(2), "--yes"), "generation 2 of cart_current is deleted; readers see generation 1")
	if n := keys(); n > 0 {
		t.Errorf("%d documents are left", n)
	}
	if _, ok := statusOf(t, shop.CurrentProjection, 2, flags...); ok {
		t.Error("status still knows of it")
	}
	w.stop()
	wantListings(t, f.inRedis, flags...)
}

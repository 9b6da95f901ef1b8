package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/projectord/projectord/examples/cart/shop"
)

// without returns a listing without the lines of a cart.
func without(listing, cart string) string {
	var left strings.Builder
	for line := range strings.Lines(listing) {
		if !strings.HasPrefix(line, cart+"\t") {
			left.WriteString(line)
		}
	}
	return left.String()
}

// allWithout returns listings without the lines of a cart.
func allWithout(listings map[string]string, cart string) map[string]string {
	left := make(map[string]string)
	for name, listing := range listings {
		left[name] = without(listing, cart)
	}
	return left
}

// longest returns the cart with most events in the listing chain, and how many those are.
func longest(chain string) (cart string, events int) {
	for line := range strings.Lines(chain) {
		fields := strings.Split(line, "\t")
		if n, err := strconv.Atoi(fields[1]); err == nil && n > events {
			cart, events = fields[0], n
		}
	}
	return cart, events
}

// retentionReport is what retention apply says it did.
type retentionReport struct {
	Streams, Cut, Deleted, Held int
	Events                      uint64
	HeldStreams                 []struct {
		Stream, By     string
		Wanted, Needed uint64
	} `json:"held_streams"`
}

// keep says how many events are wanted of a cart.
func keep(events int) string { return fmt.Sprintf("%s=%d", maxCountEnv, events) }

// retained applies the rules, and returns the report.
func retained(t *testing.T, more ...string) (report retentionReport) {
	t.Helper()
	text := mustCart(t, append([]string{"retention", "apply", "--yes", "-o", "json"}, more...)...)
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("retention prints %q: %v", text, err)
	}
	return report
}

// A cart that is deleted is gone from what shows carts, whatever the command is called
// on next; one that is deleted for good never comes back.
func TestDeleteCommand(t *testing.T) {
	t.Parallel()
	f := generate(41, 300)
	flags, _, _ := space(t)
	both := withPostgres(t, flags)
	command := func(words ...string) []string { return append(words, flags...) }
	mustCart(t, command("import", written(t, "history", f.ndjson))...)
	mustCart(t, append([]string{"project"}, both...)...)
	cart, events := longest(f.inRedis["chain"])

	del := func(cart string, more ...string) []string {
		return command(append([]string{"streams", "delete", "cart-" + cart}, more...)...)
	}
	want(t, exitUnconfirmed, del(cart, "--reason", "asked for it"), fmt.Sprintf("cart-%s, which is at version %d, would be deleted: --yes does it", cart, events))
	wantListings(t, f.inRedis, flags...)
	want(t, 0, del(cart, "--reason", "asked for it", "--by", "ann", "--yes"), fmt.Sprintf("cart-%s is deleted, by version %d", cart, events+1))
	gone := fmt.Sprintf("was deleted at version %d", events+1)
	for range 2 { // before the workers have come to it, and then
		want(t, exitAbsent, command("show", cart), gone, "cart streams show cart-"+cart)
		want(t, 0, del(cart, "--reason", "again", "--yes"), "nothing to do: cart-"+cart+" "+gone, " by ann: asked for it")
		mustCart(t, append([]string{"project"}, both...)...)
	}
	wantListings(t, allWithout(f.inRedis, cart), flags...)
	wantListings(t, f.inPostgres, both...) // the rows that carts share keep what it did
	wantSummaries(t, without(f.inRedis["carts"], cart), both...)
	want(t, 0, current(flags, "heal", "cart-"+cart), gone, "it has no document in generation 1")
	want(t, 0, current(flags, "verify", "--fold"), "0 differ")

	// It may begin anew, though not by a history that does not know of that.
	more := f.ndjson + fmt.Sprintf(`{"ts":"2012-01-01T00:00:00Z","cart":%q,"type":"checked_out","ref":"1"}`, cart) + "\n"
	want(t, exitFailed, command("import", written(t, "more", more)), "cart "+cart, "the cart was deleted")
	want(t, 0, command("import", written(t, "history", f.ndjson)), "0 added")

	want(t, 0, del(cart, "--tombstone", "--reason", "r", "--yes"), fmt.Sprintf("cart-%s is deleted for good, by version %d", cart, events+2))
	want(t, exitAbsent, command("show", cart), "was deleted at version")
	want(t, exitFailed, command("import", written(t, "more", more)), "cart "+cart, "the cart was deleted")
	want(t, 0, del("nobody", "--tombstone", "--reason", "reserved", "--yes"), "cart-nobody is deleted for good, by version 1")
	mustCart(t, append([]string{"project"}, both...)...)
	wantListings(t, allWithout(f.inRedis, cart), flags...)

	want(t, 0, append([]string{"retention", "apply", "--yes"}, both...), fmt.Sprintf("%d events of 1 stream removed", events+1))
	want(t, 0, command("import", written(t, "history", f.ndjson)), "0 added")
	wantListings(t, allWithout(f.inRedis, cart), flags...)
}

// Events go only where nobody needs them, or by force, and what was cut is made of a
// snapshot, or said to be truncated.
func TestTruncateCommand(t *testing.T) {
	t.Parallel()
	f := generate(42, 300)
	flags, _, _ := space(t)
	both := withPostgres(t, flags)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	cart, _ := longest(f.inRedis["chain"])
	truncate := func(flags []string, cart, before string, more ...string) []string {
		return slices.Concat([]string{"streams", "truncate", "cart-" + cart, "--before", before}, more, flags)
	}
	mustCart(t, append([]string{"project"}, both...)...)
	want(t, exitUsage, truncate(flags, cart, "40", "--yes"), "what cart_summary, product_totals, orders, days needs is in Postgres, and none is named, so nothing is removed", "--postgres-url")
	want(t, exitUsage, append([]string{keep(1), "retention", "apply", "--yes"}, flags...), "so nothing is removed", "--postgres-url")
	want(t, exitFailed, truncate(both, cart, "40", "--yes"), "still needed: projection cart_current, generation 1, has no snapshot", "by --force")

	// Snapshots of all that makes documents are what it takes.
	w := startWorker(t, append(slices.Clone(both), "--snapshots", "redis", "--snapshot-every", "1")...)
	more := f.ndjson + fmt.Sprintf(`{"ts":"2012-01-01T00:00:00Z","cart":%q,"type":"checked_out","ref":"1"}`, cart) + "\n"
	mustCart(t, append([]string{"import", written(t, "more", more)}, flags...)...)
	waitForAll(t, both...)
	w.stop()
	want(t, 0, truncate(both, cart, "40", "--yes"), "39 events of cart-"+cart+" removed; the first is version 40 now")
	want(t, 0, append([]string{"import", written(t, "more", more)}, flags...), "0 added")
	want(t, 0, current(flags, "verify", "--fold"), ", 0 differ")
	want(t, 0, current(flags, "heal", "cart-"+cart), "in generation 1 of cart_current is what its ")

	want(t, 0, truncate(both, "c12346", "5", "--force", "--reason", "a court order", "--by", "ann", "--yes"), "4 events of cart-c12346 removed; the first is version 5 now")
	want(t, 0, append([]string{"retention", "forced"}, flags...), "cart-c12346", "ann", "a court order", "projection cart_current, generation 1, has no snapshot")
	want(t, exitWrong, current(flags, "verify", "--fold"), "cart-c12346 cannot be folded", "were removed")
}

// What the rules do not want goes as far as nobody needs it, and what is left is enough
// for workers that know nothing.
func TestRetentionCommand(t *testing.T) {
	t.Parallel()
	f := generate(43, 1_500)
	flags, client, namespace := space(t)
	both := withPostgres(t, flags)
	command := func(words ...string) []string { return append(words, both...) }
	files := f.parts(t, 2)
	mustCart(t, append([]string{"import", files[0]}, flags...)...)
	mustCart(t, command("project")...)

	want(t, 0, command("retention", "show"), "there are no rules")
	want(t, 0, command(keep(10), "CART_MAX_AGE=8760h", "CART_IDLE=26280h", "retention", "show"), "cart      10      8760h0m0s     -             26280h0m0s")
	report := retained(t, command(keep(10), "--list", "3")...)
	if h := report.HeldStreams; report.Cut != 0 || report.Held < 20 || len(h) != 3 || h[0].Needed != 1 || h[0].By != "projection cart_current, generation 1, has no snapshot" {
		t.Errorf("without snapshots: %+v", report)
	}
	w := startWorker(t, append(slices.Clone(both), "--snapshots", "redis", "--snapshot-every", "1")...)
	mustCart(t, append([]string{"import", files[1]}, flags...)...)
	waitForAll(t, both...)
	w.stop()
	report = retained(t, command(keep(10))...)
	if report.Cut < 20 || report.Events == 0 || report.Held > report.Streams/2 {
		t.Errorf("with snapshots: %+v", report)
	}
	wantListings(t, f.inRedis, flags...)

	// The same read models again, from nothing but snapshots and the events behind them.
	drop(t, client, namespace+":cart:*")
	w = startWorker(t, both...)
	for _, name := range stateful {
		want(t, 0, about(both, "rebuild", name, "--wait", "--again"))
		want(t, 0, about(both, "promote", name, "--yes"))
	}
	waitBuilt(t, 2, both...)
	wantListings(t, f.inRedis, flags...)
	wantSummaries(t, f.inRedis["carts"], both...)
	w.stop()

	// Rows that carts share have no snapshots, and cannot be made of what is left.
	want(t, exitFailed, about(both, "verify", shop.DaysProjection, "--fold"), "were removed")
	wantListings(t, f.inPostgres, both...)

	want(t, 0, command("CART_IDLE=1h", "retention", "apply", "--yes"), fmt.Sprintf("; %d streams deleted because they were idle", strings.Count(f.inRedis["carts"], "\n")))
}

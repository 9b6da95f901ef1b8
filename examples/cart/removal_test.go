package main

import (
	"encoding/json"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
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

// retained runs the retention command, and returns its report.
func retained(t *testing.T, args ...string) (report retentionReport) {
	t.Helper()
	text := mustCart(t, append(args, "-o", "json")...)
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
	flags, _, namespace := space(t)
	both := withPostgres(t, flags)
	command := func(words ...string) []string { return append(words, flags...) }
	mustCart(t, command("import", written(t, "history", f.ndjson))...)
	mustCart(t, append([]string{"project"}, both...)...)
	cart, events := longest(f.inRedis["chain"])

	want(t, exitUsage, command("delete", cart), "--reason is missing")
	want(t, 1, command("delete", "nobody", "--reason", "r", "--yes"), "there is no cart nobody in namespace "+namespace)
	want(t, exitUsage, command("delete", cart, "--reason", "asked for it"), fmt.Sprintf("cart %s, which is at version %d, would be deleted: --yes does it", cart, events))
	wantListings(t, f.inRedis, flags...)
	want(t, 0, command("delete", cart, "--reason", "asked for it", "--by", "ann", "--yes"), fmt.Sprintf("cart %s is deleted, by version %d", cart, events+1))
	gone := fmt.Sprintf("cart %s was deleted at version %d, on ", cart, events+1)
	for range 2 { // before the workers have come to it, and then
		want(t, 1, command("show", cart), gone, " by ann: asked for it")
		want(t, 0, command("delete", cart, "--reason", "again", "--yes"), "nothing to do: "+gone, "asked for it")
		mustCart(t, append([]string{"project"}, both...)...)
	}
	wantListings(t, allWithout(f.inRedis, cart), flags...)
	wantListings(t, f.inPostgres, both...) // the rows that carts share keep what it did
	wantSummaries(t, opened(t, both...), without(f.inRedis["carts"], cart))
	want(t, 0, current(flags, "heal", cart), gone, "it has no document in generation 1")
	want(t, 0, current(flags, "verify", "--fold"), "0 differ")

	// It may begin anew, though not by a history that does not know of that.
	more := f.ndjson + fmt.Sprintf(`{"ts":"2012-01-01T00:00:00Z","cart":%q,"type":"checked_out","ref":"1"}`, cart) + "\n"
	want(t, 1, command("import", written(t, "more", more)), "cart "+cart, "the cart was deleted")
	want(t, 0, command("import", written(t, "history", f.ndjson)), "0 added")

	want(t, exitUsage, command("delete", cart, "--for-good", "--reason", "r"), "which was deleted at version", "would be deleted for good")
	want(t, 0, command("delete", cart, "--for-good", "--reason", "r", "--yes"), fmt.Sprintf("cart %s is deleted for good, by version %d", cart, events+2))
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"delete", cart, "--reason", "r"}, {"delete", cart, "--reason", "r", "--for-good", "--yes"}} {
		want(t, 0, command(words...), "nothing to do: cart "+cart+" was deleted for good at version ", "by "+who.Username+": r")
	}
	want(t, 1, command("show", cart), "was deleted for good at version")
	want(t, 1, command("import", written(t, "more", more)), "cart "+cart, "the cart was deleted")
	want(t, 0, command("delete", "nobody", "--for-good", "--reason", "reserved", "--yes"), "cart nobody is deleted for good, by version 1")
	mustCart(t, append([]string{"project"}, both...)...)
	wantListings(t, allWithout(f.inRedis, cart), flags...)

	want(t, 0, append([]string{"retention"}, both...), fmt.Sprintf("%d events of 1 carts are removed", events+1))
	want(t, 0, command("import", written(t, "history", f.ndjson)), "0 added")
	wantListings(t, allWithout(f.inRedis, cart), flags...)
}

// Events go only where nobody needs them, or by force, which is told.
func TestTruncateCommand(t *testing.T) {
	t.Parallel()
	f := generate(42, 300)
	flags, _, namespace := space(t)
	both := withPostgres(t, flags)
	command := func(words ...string) []string { return append(words, both...) }
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	cart, events := longest(f.inRedis["chain"])
	truncate := func(more ...string) []string {
		return command(append([]string{"truncate", cart, "--before", "40"}, more...)...)
	}
	want(t, exitUsage, command("truncate", cart), "--before is missing")
	want(t, exitUsage, truncate("--force"), "--force takes a --reason")
	want(t, exitUsage, truncate("--reason", "r"), "add that, or leave it out")
	want(t, 1, command("truncate", "nobody", "--before", "2"), "there is no cart nobody")
	want(t, 1, command("truncate", cart, "--before", fmt.Sprint(events+1)), fmt.Sprintf("--before is %d at the most", events))
	want(t, 0, append([]string{"forced"}, flags...), "nothing was removed by force in namespace "+namespace)

	mustCart(t, command("project")...)
	want(t, exitUsage, append([]string{"truncate", cart, "--before", "40", "--yes"}, flags...), "what cart_summary, product_totals, orders, days need is in Postgres, so nothing is removed", "--postgres")
	want(t, exitUsage, append([]string{"retention", "--max-count", "1"}, flags...), "so nothing is removed", "--postgres")
	want(t, exitUsage, truncate(), "below version 40 would be removed for good: --yes does it")
	want(t, 1, truncate("--yes"), "still needed: projection cart_current, generation 1, has no snapshot", "cart run --snapshots", "by --force")
	want(t, exitUsage, truncate("--force", "--reason", "r"), "also if they are needed: --yes does it")
	want(t, 0, append([]string{"forced"}, flags...), "nothing was removed by force")

	// Snapshots of all that makes documents are what it takes.
	w := startWorker(t, append(slices.Clone(both), "--snapshots", "1")...)
	more := f.ndjson + fmt.Sprintf(`{"ts":"2012-01-01T00:00:00Z","cart":%q,"type":"checked_out","ref":"1"}`, cart) + "\n"
	mustCart(t, append([]string{"import", written(t, "more", more)}, flags...)...)
	waitForAll(t, opened(t, both...))
	w.stop()
	want(t, 0, truncate("--yes"), "39 events of cart "+cart+" are removed; the first is version 40 now")
	want(t, 0, truncate("--yes"), "nothing to do: cart "+cart+" has no events below version 40")
	want(t, 0, append([]string{"import", written(t, "more", more)}, flags...), "0 added")
	want(t, 0, current(flags, "verify", "--fold"), ", 0 differ")
	want(t, 0, current(flags, "heal", cart), "is made anew, of all its")

	force := command("truncate", "c12346", "--before", "5", "--force", "--reason", "a court order", "--by", "ann", "--yes")
	want(t, 0, force, "4 events of cart c12346 are removed; the first is version 5 now")
	want(t, 0, append([]string{"forced"}, flags...), "cart-c12346 before version 5, on ", " by ann: a court order", "needed: projection cart_current, generation 1, has no snapshot")
	want(t, 1, current(flags, "verify", "--fold"), "cart-c12346 cannot be folded", "were removed")
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

	report := retained(t, command("retention", "--max-count", "10", "--list", "3")...)
	if h := report.HeldStreams; report.Cut != 0 || report.Held < 20 || len(h) != 3 || h[0].Needed != 1 || h[0].By != "projection cart_current, generation 1, has no snapshot" {
		t.Errorf("without snapshots: %+v", report)
	}
	w := startWorker(t, append(slices.Clone(both), "--snapshots", "1")...)
	mustCart(t, append([]string{"import", files[1]}, flags...)...)
	waitForAll(t, opened(t, both...))
	w.stop()
	report = retained(t, command("retention", "--max-count", "10")...)
	if report.Cut < 20 || report.Events == 0 || report.Held > report.Streams/2 {
		t.Errorf("with snapshots: %+v", report)
	}
	wantListings(t, f.inRedis, flags...)

	// The same read models again, from nothing but snapshots and the events behind them.
	drop(t, client, namespace+":cart:*")
	w = startWorker(t, both...)
	for _, name := range []string{shop.CurrentProjection, shop.ChainProjection, shop.SummaryProjection} {
		want(t, 0, command("rebuild", name, "--wait", "--again"))
		want(t, 0, command("promote", name, "--yes"))
	}
	waitBuilt(t, 2, both...)
	wantListings(t, f.inRedis, flags...)
	wantSummaries(t, opened(t, both...), f.inRedis["carts"])
	w.stop()

	// Rows that carts share have no snapshots, and cannot be made of what is left.
	r := cart(t.Context(), "", command("verify", shop.DaysProjection, "--fold")...)
	if r.status != 1 || !strings.Contains(r.out+r.err, "were removed") {
		t.Errorf("status %d, %s%s", r.status, r.out, r.err)
	}
	wantListings(t, f.inPostgres, both...)

	want(t, 0, command("retention", "--idle", "1h"), fmt.Sprintf("; %d carts were idle and are deleted", strings.Count(f.inRedis["carts"], "\n")))
	want(t, exitUsage, command("retention", "--max-age", "-1h"), "--max-age is above 0")
	want(t, exitUsage, command("retention", "--idle", "-1h"), "--idle is above 0")
	want(t, exitUsage, command("retention", "-o", "xml"), `"xml"`)
}

func TestRemovalHelp(t *testing.T) {
	for _, command := range []string{"delete", "truncate", "forced", "retention"} {
		want(t, 0, []string{command, "-h"}, "Examples:\n  cart "+command)
	}
	flags := []string{"--redis", "redis://" + testenv.Embedded(t).Options().Addr}
	want(t, exitUsage, append([]string{"delete"}, flags...), "CART is missing")
	want(t, exitUsage, append([]string{"truncate"}, flags...), "CART is missing")
}

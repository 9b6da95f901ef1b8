package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Snapshots that a worker kept are what the events add up to. Of code that was changed
// without a new version they are not: they are listed and dropped.
func TestSnapshotsCommand(t *testing.T) {
	t.Parallel()
	f := generate(39, 800)
	flags, client, namespace := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	both := withPostgres(t, flags)
	w := startWorker(t, append(slices.Clone(both), "--snapshots", "redis", "--snapshot-every", "20")...)
	waitForAll(t, both...)
	keys := func() []string {
		return client.Keys(t.Context(), "{"+namespace+":*}:snapshot:cart_current:*").Val()
	}
	n := len(keys())
	if n < 5 {
		t.Fatalf("%d snapshots were kept", n)
	}
	row := func(projection string, counts ...int) string {
		return fmt.Sprintf("%s %s", projection, strings.Trim(fmt.Sprint(counts), "[]"))
	}
	verify := append([]string{"snapshots", "verify"}, flags...)
	// Snapshots, and those of them that are good, outdated, unproven, bad and dropped.
	wantWords(t, 0, verify, row("cart_current", n, n, 0, 0, 0, 0))
	wantWords(t, 0, append([]string{"snapshots", "verify"}, both...), row("cart_chain", n, n, 0, 0, 0, 0), row("cart_summary", n, n, 0, 0, 0, 0))
	wantWords(t, 0, append(slices.Clone(verify), code(2), "--drop"), row("cart_current", n, 0, n, 0, 0, 0))
	w.stop()

	spoilt := keys()[0]
	if err := client.SetRange(t.Context(), spoilt, 60, "nonsense").Err(); err != nil {
		t.Fatal(err)
	}
	wantWords(t, exitWrong, verify, row("cart_current", n, n-1, 0, 0, 1, 0), "is corrupt: ", "--drop deletes")
	wantWords(t, exitWrong, append(slices.Clone(verify), "--drop"), "1 snapshot differed, and were deleted", "projections verify --fold --heal")
	wantWords(t, 0, verify, row("cart_current", n-1, n-1, 0, 0, 0, 0))
}

// wantWords runs the program, and wants a status and words that it says, however many
// spaces are between them.
func wantWords(t *testing.T, status int, args []string, says ...string) {
	t.Helper()
	r := cart(t.Context(), "", args...)
	text := strings.Join(strings.Fields(r.out+r.err), " ")
	for _, words := range says {
		if !strings.Contains(text, words) {
			t.Errorf("cart %v does not say %q: %s", args, words, text)
		}
	}
	if r.status != status {
		t.Errorf("cart %v: status %d; want %d: %s", args, r.status, status, text)
	}
}

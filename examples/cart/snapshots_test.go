package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// Snapshots that a worker kept are what the events add up to. Of code that was changed
// without a new version they are not: they are listed and dropped.
func TestSnapshotsCommand(t *testing.T) {
	t.Parallel()
	f := generate(39, 800)
	flags, client, namespace := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	both := withPostgres(t, flags)
	w := startWorker(t, append(slices.Clone(both), "--snapshots", "20")...)
	waitForAll(t, opened(t, both...))
	keys := func() []string {
		return client.Keys(t.Context(), "{"+namespace+":*}:snapshot:cart_current:*").Val()
	}
	n := len(keys())
	if n < 5 {
		t.Fatalf("%d snapshots were kept", n)
	}
	verify := append([]string{"snapshots", "verify"}, flags...)
	want(t, 0, verify, fmt.Sprintf("cart_current: %d snapshots, of which %d are what the events add up to, 0 differ, and 0 are of other code", n, n))
	want(t, 0, append([]string{"snapshots", "verify"}, both...),
		fmt.Sprintf("cart_chain: %d snapshots, of which %[1]d", n), fmt.Sprintf("cart_summary: %d snapshots, of which %[1]d", n))
	want(t, 0, append(slices.Clone(verify), "--code", "2", "--drop"), fmt.Sprintf("0 differ, and %d are of other code", n))
	w.stop()

	spoilt := keys()[0]
	if err := client.SetRange(t.Context(), spoilt, 60, "nonsense").Err(); err != nil {
		t.Fatal(err)
	}
	want(t, 1, verify, "1 differ", "is corrupt: ", "--drop deletes")
	want(t, 1, append(slices.Clone(verify), "--drop"), "1 snapshots of cart_current differed, and were deleted", "cart drift cart_current --share 1 --heal")
	want(t, 0, verify, fmt.Sprintf("%d snapshots", n-1), "0 differ")

	want(t, exitUsage, append([]string{"snapshots"}, flags...), "verify is missing")
	want(t, exitUsage, append([]string{"snapshots", "take"}, flags...), `no command "take", only verify`)
	want(t, exitUsage, append([]string{"run", "--snapshots", "-1"}, "--redis", "redis://"+testenv.Embedded(t).Options().Addr), "--snapshots is 1 or more")
	want(t, 0, []string{"snapshots", "verify", "-h"}, "cart snapshots verify --code 2 --drop")
}

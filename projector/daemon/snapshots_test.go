package daemon

import (
	"testing"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	f := shop(t).with(env("snapshots")+"=redis", env("snapshot-every")+"=1")
	f.want(exitDone, words("snapshots verify"), "PROJECTION  SNAPSHOTS  GOOD", "carts       0          0")
	f.wantValue("[]", exitDone, "snapshots verify", "0.findings")
	f.want(exitDone, words("snapshots ls"), "there are no snapshots")
	f.wantValue("[]", exitDone, "snapshots ls", "snapshots")
	f.want(exitUsage, words("snapshots ls items"), "items has no states")
	f.want(exitUsage, words("snapshots ls --limit -1"), "--limit")
	f.want(exitUsage, words("snapshots verify items"), "items has no states of which there could be snapshots")
	f.want(exitAbsent, words("snapshots drop orders"), "there is no projection orders")
	f.want(exitUsage, words("snapshots drop"), "PROJECTION is missing")

	f.grow("cart-1", "tea", long)
	f.grow("cart-2", "tea", long)
	f.work(both(f.says("tea", "get", "carts", "1"), f.says("tea", "get", "carts", "2"), f.says("good: 2", "snapshots", "verify", "-o", "yaml")))
	f.want(exitDone, words("snapshots ls"), "PROJECTION  STREAM  VERSION", "carts       cart-1  64", "carts       cart-2  64")
	f.want(exitDone, words("snapshots ls carts --limit 1"), "cart-1", "and 1 more")
	f.wantValue(64, exitDone, "snapshots ls", "snapshots.1.version")
	key := keyspace.New(f.namespace, 2).Snapshot("carts", "cart-1")
	client := testenv.Redis(t)
	if err := client.SetRange(t.Context(), key, 40, "damage").Err(); err != nil {
		t.Fatal(err)
	}
	f.want(exitDone, words("snapshots ls"), "corrupt snapshot")
	f.want(exitWrong, words("snapshots verify carts"), "cart-1 at version", "1 snapshot differ")
	f.wantValue("cart-1", exitWrong, "snapshots verify", "0.findings.0.stream")
	f.want(exitWrong, words("snapshots verify --drop"), "and were deleted")
	f.wantValue(1, exitDone, "snapshots verify", "0.snapshots")
	f.want(exitUnconfirmed, words("snapshots drop carts"), "all snapshots of carts would be deleted")
	f.wantValue(1, exitDone, "snapshots verify", "0.snapshots")
	f.want(exitDone, words("snapshots drop carts --yes"), "1 snapshot of carts deleted")
	f.wantValue(0, exitDone, "snapshots drop carts --yes", "dropped")
}

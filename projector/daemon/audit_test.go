package daemon

import (
	"testing"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("audit"), "no projection has run yet")
	if out := f.want(exitDone, words("audit -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}
	f.want(exitAbsent, words("audit carts"), "carts has not run")
	f.as(App{Name: "projectord"}).want(exitAbsent, words("audit carts"), "there is no projection carts in namespace "+f.namespace+", nor any other yet")
	f.as(App{Name: "projectord"}).want(exitUsage, words("audit"), "this takes projections, and projectord has none")

	f = worked(t, true)
	f.as(App{Name: "projectord"}).want(exitUsage, words("audit carts"), "this takes the code of carts")
	f.want(exitDone, words("audit"), "PROJECTION  STREAMS  BEHIND  PARKED  WRONG  HEALED", "carts@1     2        1       1       0      0")
	f.wantValue(2, exitDone, "audit items", "0.streams")

	// A pointer that somebody has deleted.
	f.append("cart-1", "tea", 1)
	client, keys := testenv.Redis(t), keyspace.New(f.namespace, 2)
	if err := client.XTrimMaxLen(t.Context(), keys.Log(keys.Partition("cart-1")), 0).Err(); err != nil {
		t.Fatal(err)
	}
	f.want(exitWrong, words("audit carts"), "cart-1 in carts: unowned", "something is wrong with 1 stream: unowned ones go on by --heal")
	f.wantValue("cart-1", exitWrong, "audit carts", "0.findings.0.stream")
	f.want(exitDone, words("audit carts --heal --deep -o yaml"), "healed: 1", "wrong: 0")
	f.want(exitDone, words("audit carts"), "carts@1     2        2       1       0      0")
	f.want(exitUsage, words("audit --list -1"), "--list")
}

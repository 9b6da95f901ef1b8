package daemon

import "testing"

func TestRetention(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("retention show"), "CATEGORY  NEWEST", "cart      1")
	f.wantValue(1, exitDone, "retention show", "0.max_count")
	f.want(exitUnconfirmed, words("retention apply"), "0 events of 0 streams would be removed", "--yes does it")
	f.want(exitDone, words("retention apply --yes"), "0 events of 0 streams removed")
	none := shopApp(1)
	none.Retention = nil
	f.as(none).want(exitDone, words("retention show"), "there are no rules")
	if out := f.as(none).want(exitDone, words("retention show -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}
	f.as(App{Name: "projectord"}).want(exitUsage, words("retention apply --yes"), "projectord has none")

	// Of many events one is wanted; all are needed until there is a snapshot.
	f.grow("cart-1", "tea", long)
	f.work(both(f.says("64", "get", "carts", "1"), f.says("64", "get", "items", "tea")))
	f.want(exitUnconfirmed, words("retention apply"), "1 stream with events that are not wanted, but needed", "cart-1 from version 1 on, where 64 is wanted")
	f.want(exitDone, words("retention apply --yes"), "0 events of 0 streams removed", "1 stream with events that are not wanted, but needed", "cart-1 from version 1 on, where 64 is wanted")
	f.wantValue("cart-1", exitDone, "retention apply --yes", "held_streams.0.stream")
	f = f.with(env("snapshots")+"=redis", env("snapshot-every")+"=1")
	f.append("cart-1", "tea", 1)
	f.work(both(f.says("65", "get", "carts", "1"), f.says("65", "get", "items", "tea"), f.says("snapshots: 1", "snapshots", "verify", "-o", "yaml")))
	f.want(exitUnconfirmed, words("retention apply"), "64 events of 1 stream would be removed, of 1 stream looked at; 0 streams would be deleted")
	f.wantValue(true, exitUnconfirmed, "retention apply", "preview")
	f.want(exitDone, words("retention apply --yes -o yaml"), "events: 64", "held: 0")
	f.want(exitFailed, words("streams show cart-1 --from 1"), "events 1 to 64 of cart-1 were removed")
	f.want(exitDone, words("streams show cart-1"), "the events before version 65 were removed", "cart-1@65")
	// Where another program's projection needs something, nothing goes.
	alone := shopApp(1)
	alone.Projections = alone.Projections[:1]
	f.as(alone).want(exitFailed, words("retention apply --yes"), "a projection is not known here")
}

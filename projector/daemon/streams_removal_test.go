package daemon

import (
	"fmt"
	"os/user"
	"testing"
)

// A stream that is deleted is gone from the read models, whatever the command is called
// on next; one with a tombstone never comes back.
func TestStreamsDelete(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	del := func(more ...string) []string { return append(words("streams delete cart-1"), more...) }
	f.want(exitUsage, words("streams delete"), "STREAM is missing")
	f.want(exitUsage, del(), "--reason is missing")
	f.want(exitUsage, words("streams delete cart --reason r --yes"), "invalid stream")
	f.want(exitAbsent, words("streams delete cart-9 --reason r --yes"), "there is no stream cart-9 in namespace "+f.namespace)
	f.want(exitUnconfirmed, del("--reason", "r"), "cart-1, which is at version 2, would be deleted: --yes does it")
	f.want(exitDone, words("get carts 1"), "tea")
	f.wantValue(3, exitDone, "streams delete cart-1 --reason asked --by ann --yes", "version")
	for range 2 { // before the workers have come to it, and then
		f.want(exitDone, del("--reason", "again", "--yes"), "nothing to do: cart-1 was deleted at version 3, on ", " by ann: asked")
		f.work(func() error {
			if r := f.call("get", "carts", "1"); r.code != exitAbsent {
				return fmt.Errorf("code %d: %s", r.code, r.out)
			}
			return nil
		})
	}
	f.want(exitDone, words("get items tea"), "3") // rows that streams share keep what it did
	f.append("cart-1", "tea", 7)
	f.work(f.says("tea    7", "get", "carts", "1"))

	f.want(exitUnconfirmed, del("--reason", "r", "--tombstone"), "would be deleted for good")
	f.want(exitDone, del("--reason", "r", "--tombstone", "--yes"), "cart-1 is deleted for good, by version 5")
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{{"--reason", "r"}, {"--reason", "r", "--tombstone", "--yes"}} {
		f.want(exitDone, del(more...), "nothing to do: cart-1 was deleted for good at version 5", "by "+who.Username+": r")
	}
	f.want(exitFailed, words("streams append cart-1 --type added --data {}"), "tombstone")
	f.want(exitDone, words("streams delete cart-9 --tombstone --reason reserved --yes -o yaml"), "cart-9 is deleted for good, by version 1")
}

// The first events of a stream go if nobody needs them, or by force, which is recorded.
func TestStreamsTruncate(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.grow("cart-1", "tea", long)
	f.work(both(f.says("64", "get", "carts", "1"), f.says("64", "get", "items", "tea")))
	truncate := func(more ...string) []string { return append(words("streams truncate cart-1"), more...) }
	f.want(exitUsage, words("streams truncate"), "STREAM is missing")
	f.want(exitUsage, truncate(), "--before is missing")
	f.want(exitUsage, truncate("--before", "x"), "--before")
	f.want(exitUsage, truncate("--before", "4", "--force"), "--force takes a --reason")
	f.want(exitUsage, truncate("--before", "4", "--reason", "r"), "--reason is recorded for what is removed by --force")
	f.want(exitUsage, truncate("--before", "65"), "cart-1 ends with version 64, which stays: --before is 64 at the most")
	f.want(exitAbsent, words("streams truncate cart-9 --before 2"), "there is no stream cart-9")
	for _, yes := range [][]string{{"--before", "4"}, {"--before", "4", "--yes"}} {
		f.want(exitFailed, truncate(yes...), "still needed: projection carts, generation 1, has no snapshot", "remove them by --force")
	}
	f.want(exitDone, words("retention forced"), "nothing was removed by force")
	if out := f.want(exitDone, words("retention forced -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}

	with := f.with(env("snapshots")+"=redis", env("snapshot-every")+"=1")
	f.append("cart-1", "tea", 1)
	with.work(both(f.says("65", "get", "carts", "1"), f.says("65", "get", "items", "tea"), with.says("snapshots: 1", "snapshots", "verify", "-o", "yaml")))
	f.want(exitUnconfirmed, truncate("--before", "40"), "the events of cart-1 below version 40 would be removed for good: --yes does it")
	f.want(exitDone, truncate("--before", "40", "--yes"), "39 events of cart-1 removed; the first is version 40 now")
	f.want(exitDone, truncate("--before", "40", "--yes"), "nothing to do: cart-1 has no events below version 40")
	f.wantValue(1, exitDone, "streams truncate cart-1 --before 41 --yes", "removed")

	f.append("cart-2", "tea", 1)
	f.append("cart-2", "tea", 1)
	stranger := f.as(App{Name: "projectord"})
	stranger.want(exitUsage, words("streams truncate cart-2 --before 2 --yes"), "projectord has none")
	force := append(words("streams truncate cart-2 --before 2 --force --by ann --reason"), "a court order")
	f.want(exitUnconfirmed, force, "also if they are needed: --yes does it")
	f.want(exitDone, append(force, "--yes", "-o", "yaml"), "removed: 1")
	f.want(exitDone, words("retention forced"), "STREAM  BEFORE VERSION  AT", "cart-2  2 ", "ann  a court order  projection carts, generation 1")
	f.wantValue("a court order", exitDone, "retention forced", "0.reason")
	f.append("cart-3", "tea", 1)
	f.append("cart-3", "tea", 1)
	stranger.want(exitDone, words("streams truncate cart-3 --before 2 --force --reason r --yes"), "1 event of cart-3 removed")
	f.wantValue("cart-3", exitDone, "retention forced", "1.stream")
	bare(t, shopApp(1)).want(exitAbsent, words("retention forced"), "there is no such namespace")
}

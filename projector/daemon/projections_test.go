package daemon

import (
	"fmt"
	"testing"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func TestProjectionsLs(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("projections ls"), "carts       1     documents  cart        has not run  0")
	stranger := f.as(App{Name: "projectord"})
	stranger.want(exitDone, words("projections ls"), "no projection has run yet")
	if out := stranger.want(exitDone, words("projections ls -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}
	f = worked(t, false)
	f.wantValue("items", exitDone, "projections ls", "1.projection")
	f.as(App{}).want(exitDone, words("projections ls"), "carts       -     -      -           1       1")
	bare(t, shopApp(1)).want(exitAbsent, words("projections ls"), "there is no such namespace")
}

func TestProjectionsShow(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitAbsent, words("projections show carts"), "carts has not run in namespace "+f.namespace+" yet: shop run starts it")
	f.want(exitAbsent, words("projections show nothing"), "there is no projection nothing")
	f.want(exitUsage, words("projections show"), "PROJECTION is missing")
	f = worked(t, true)
	f.want(exitDone, words("projections show carts"), "carts, of which readers see generation 1", "PROJECTION  GENERATION", "generation 1 began ")
	f.wantValue(1, exitDone, "projections show carts", "all.0.parked")
	f.wantValue(true, exitDone, "projections show carts", "all.0.active")
}

// A changed projection is built, compared, switched to, switched back from, and the old
// generation is deleted: every command on the way says what it did, and what is next.
func TestGenerations(t *testing.T) {
	t.Parallel()
	old := worked(t, false)
	new := old.as(shopApp(2))
	none := old.as(App{Name: "projectord"})

	for _, command := range []string{"rebuild carts", "verify carts", "verify carts --fold", "heal carts cart-1", "promote carts", "rollback carts", "retire carts --generation 1"} {
		none.want(exitUsage, words("projections "+command), "this takes the code of carts, which projectord does not have")
	}
	old.want(exitAbsent, words("projections pause carts"), "no generation of carts is being built")
	old.want(exitAbsent, words("projections resume carts"), "no generation of carts is paused, or failed")
	old.want(exitAbsent, words("projections verify carts"), "no generation that is built beside 1")
	old.want(exitAbsent, words("projections promote carts"), "no generation that is built and newer than 1")
	old.want(exitAbsent, words("projections rollback carts"), "there is none to go back to")
	old.want(exitUsage, words("projections rebuild carts --rate -1"), "--rate")
	old.want(exitAbsent, words("projections rebuild orders"), "there is no projection orders")

	new.want(exitDone, words("projections rebuild carts"), "generation 2 of carts is being built by the workers of version 2", "next: shop status --watch")
	new.want(exitDone, words("status"), "carts       1           1        active    0", "            2           2        building  -", "listing the streams")
	none.want(exitDone, words("projections pause carts"), "generation 2 of carts is paused")
	new.want(exitFailed, words("projections rebuild carts"), "is paused: shop projections resume carts")
	new.want(exitFailed, words("projections promote carts --generation 2"), "generation 2 of carts is paused, and readers can see only what is built")
	none.wantValue(2, exitDone, "projections resume carts", "generation")

	done := make(chan result, 1)
	new.work(func() error {
		go func() { done <- new.call(words("projections rebuild carts --wait -o json")...) }()
		if r := <-done; r.code != exitDone {
			return fmt.Errorf("%s%s", r.out, r.err)
		}
		return nil
	}, "--only", "carts")
	new.want(exitDone, words("projections rebuild carts"), "generation 2 of carts, of version 2, is built", "next: shop projections verify carts")
	new.want(exitWrong, words("projections verify carts"), "cart-1, at 2 events:", `  items: "2" in generation 2, nothing in generation 1`, "carts: 2 documents of generation 2 compared with generation 1, 2 differ")
	new.want(exitDone, words("projections verify carts --ignore items"), "0 differ", "items differs in 2 documents, which is ignored")
	new.wantValue("[]", exitDone, "projections verify carts --ignore items", "differences")
	new.wantValue("2", exitWrong, "projections verify carts", "differences.0.fields.items.0")
	new.want(exitDone, words("projections verify carts --generation 2 --fold"), "2 documents of generation 2 compared with the events, 0 differ")
	new.want(exitUsage, words("projections verify carts --fold"), "generation 1 of carts is of version 1, and this code")

	new.want(exitUnconfirmed, words("projections promote carts"), "readers would see generation 2 of carts, version 2 of the code, in place of generation 1, which is up to date: --yes does it")
	new.want(exitDone, words("get carts 1"), "generation 1")
	new.want(exitDone, words("projections promote carts --yes"), "readers see generation 2 of carts", "shop projections rollback carts goes back")
	new.want(exitDone, words("get carts 1"), "generation 2", "items  2")
	new.want(exitDone, words("projections promote carts --generation 2"), "already")
	new.want(exitUnconfirmed, words("projections rollback carts"), "readers would see generation 1 of carts again")
	new.wantValue(1, exitDone, "projections rollback carts --yes", "generation")
	new.want(exitDone, words("projections promote carts --yes -o yaml"), "generation: 2")

	// Generation 1 is behind, and no worker of its version runs.
	new.append("cart-1", "tea", 5)
	new.want(exitUnconfirmed, words("projections rollback carts"), "which is 1 event behind")
	new.want(exitLate, words("projections rollback carts --yes --timeout 200ms"), "generation 1 of carts is 1 event behind", "was still behind", "is a worker of version 1 running?")
	new.want(exitDone, words("projections rollback carts --yes --now"), "readers see generation 1")
	new.want(exitDone, words("get carts 1"), "tea    2", "generation 1") // and not what was appended since

	// So is generation 2, until a worker of it comes.
	new.want(exitLate, words("projections promote carts --generation 2 --yes --timeout 200ms"), "generation 2 of carts is 1 event behind", "was still behind after 200ms", "--now does not wait")
	new.want(exitDone, words("get carts 1"), "generation 1")
	waiting := new.inBackground(words("projections promote carts --generation 2 --yes")...)
	waiting.saying("is 1 event behind")
	new.work(func() error { return waiting.ended() }, "--only", "carts")
	new.want(exitDone, words("get carts 1"), "generation 2", "tea    7")
	new.append("cart-1", "tea", 1)
	new.want(exitDone, words("projections rollback carts --yes --now"), "readers see generation 1")
	new.want(exitDone, words("projections promote carts --generation 2 --yes --now"), "readers see generation 2 of carts, version 2 of the code, and no longer generation 1")
	new.want(exitDone, words("projections rollback carts --yes --now"), "readers see generation 1")

	new.want(exitUsage, words("projections retire carts"), "--generation is missing")
	new.want(exitFailed, words("projections retire carts --generation 1 --yes"), "is the one that readers see")
	new.want(exitAbsent, words("projections retire carts --generation 7"), "carts has no generation 7")
	new.want(exitUnconfirmed, words("projections retire carts --generation 2"), "would be deleted")
	new.wantValue(2, exitDone, "projections retire carts --generation 2 --yes", "generation")
	new.wantValue(1, exitDone, "projections ls", "0.generations")
}

// Where nobody can say how far a generation is behind, because no worker ever served it,
// readers are not sent there by a command that waits, and are by one that does not.
func TestPromoteNow(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	client := testenv.Redis(t)
	newer := f.as(shopApp(2))
	newer.work(newer.says("2           2        built", "status"))
	keys := keyspace.New(f.namespace, 2)
	for p := range 2 {
		if err := client.XGroupDestroy(t.Context(), keys.Log(p), "carts@2").Err(); err != nil {
			t.Fatal(err)
		}
	}
	newer.want(exitUnconfirmed, words("projections promote carts"), "readers would see generation 2")
	newer.want(exitAbsent, words("projections promote carts --yes"), "no worker ever served generation 2 of carts", "is a worker of version 2 running?", "--now does not wait")
	newer.want(exitDone, words("get carts 1"), "generation 1")
	newer.want(exitDone, words("projections promote carts --yes --now"), "readers see generation 2 of carts")
	newer.want(exitDone, words("get carts 1"), "generation 2")
}

func TestProjectionsHealAndVerify(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	f.want(exitDone, words("projections verify carts --fold"), "carts: 2 documents of generation 1 compared with the events, 0 differ")
	f.want(exitDone, words("projections verify items --fold"), "items: 2 rows of generation 1 compared with the events, 0 differ")
	client := testenv.Redis(t)
	spoil := func() {
		t.Helper()
		if err := client.HSet(t.Context(), f.namespace+":cart:current:1", "tea", "99").Err(); err != nil {
			t.Fatal(err)
		}
	}
	spoil()
	f.want(exitWrong, words("projections verify carts --fold"), `tea: "99" in generation 1, "2" in the events`, "--heal makes documents anew")
	f.want(exitDone, words("projections heal carts cart-1"), "cart-1 in generation 1 of carts is what its 2 events come to")
	f.want(exitDone, words("projections verify carts --fold"), "0 differ")
	spoil()
	f.want(exitWrong, words("projections verify carts --fold --heal"), "1 document differed, and were healed")
	f.wantValue(0, exitDone, "projections verify carts --fold", "different")
	f.want(exitAbsent, words("projections heal carts cart-9"), "there is no stream cart-9")
	f.want(exitUsage, words("projections heal items cart-1"), "streams share the rows of items")
	f.want(exitUsage, words("projections verify items --fold --heal"), "what all streams together come to")
	f.want(exitUsage, words("projections verify items --fold --share 0.5"), "leave out --share")
	for _, wrong := range []string{"--share 0", "--share 2", "--rate -1", "--heal", "--fold --heal --ignore tea", "--list -1"} {
		f.want(exitUsage, words("projections verify carts "+wrong), "--")
	}
}

// The age of what is behind is told where something is.
func TestOldest(t *testing.T) {
	t.Parallel()
	none, some := 0, 3
	for want, g := range map[string]generationView{
		"-":    {Behind: &none, OldestSeconds: 23},
		"23s":  {Behind: &some, OldestSeconds: 23},
		"24s":  {OldestSeconds: 24}, // of pointers, as the events are not known
		"52ms": {Behind: &some, OldestSeconds: .052},
	} {
		if got := g.oldest(); got != want {
			t.Errorf("of %+v it is %q, want %q", g, got, want)
		}
	}
}

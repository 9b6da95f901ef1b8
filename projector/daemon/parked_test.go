package daemon

import "testing"

func TestParked(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("parked ls"), "nothing is parked")
	f.wantValue("[]", exitDone, "parked ls", "parked")
	f.want(exitAbsent, words("parked ls orders"), "there is no projection orders")
	f.want(exitUsage, words("parked retry carts"), "name one STREAM, or say --all")
	f.want(exitUsage, words("parked retry carts cart-1 --all"), "name one STREAM, or say --all")

	f = worked(t, true).as(App{Name: "projectord"}) // none of it takes the code
	f.want(exitDone, words("parked ls"), "PROJECTION  STREAM  VERSION", "carts@1     cart-2  2", "thirteen of it")
	f.want(exitDone, words("parked ls carts -o yaml"), "stream: cart-2", "total: 1")
	f.want(exitDone, words("parked ls items"), "nothing is parked")
	f.wantValue("cart-2", exitDone, "parked ls", "parked.0.stream")
	f.want(exitDone, words("parked show carts cart-2"), "cart-2 is parked in generation 1 of carts", "it stands before version 2 of 2", `{"item":"mug","qty":13}`)
	f.wantValue(13, exitDone, "parked show carts cart-2", "event.data.qty")
	f.want(exitAbsent, words("parked show carts cart-1"), "cart-1 is not parked in carts")
	f.want(exitAbsent, words("parked retry carts cart-1"), "cart-1 is not parked in carts")

	skip := func(more ...string) []string {
		return append(append(words("parked skip carts cart-2"), more...), "--by", "ann")
	}
	f.want(exitUsage, skip("--reason", "r"), "--version is missing")
	f.want(exitUsage, skip("--version", "2"), "--reason is missing")
	f.want(exitAbsent, skip("--version", "1", "--reason", "r", "--yes"), "is not parked at version 1 in carts, but at version 2")
	f.want(exitUnconfirmed, skip("--version", "2", "--reason", "a test"), "carts would leave out version 2 of cart-2 for good")
	f.wantValue(1, exitDone, "parked ls", "total")

	// Retried, it comes to the same end with the same code.
	f.want(exitDone, words("parked retry carts cart-2"), "1 stream of carts retried")
	f.want(exitDone, words("parked ls"), "nothing is parked")
	with := f.as(shopApp(1))
	with.work(f.says("thirteen", "parked", "ls"))
	f.wantValue(1, exitDone, "parked retry carts --all", "retried")
	with.work(f.says("thirteen", "parked", "ls"))

	f.want(exitDone, skip("--version", "2", "--reason", "a test", "--yes", "-o", "yaml"), "version: 2\n", "stream: cart-2")
	f.append("cart-2", "tea", 4)
	with.work(with.says("5", "get", "carts", "2"))
	f.want(exitDone, words("projections show carts"), "1 event left out by parked skip")
}

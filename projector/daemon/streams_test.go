package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

func TestStreamsLs(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("streams ls"), "there are no streams in namespace "+f.namespace)
	f.wantValue("[]", exitDone, "streams ls", "streams")
	for i := range 3 {
		f.append(fmt.Sprintf("cart-%d", i), "tea", 1)
	}
	f.append("order-7", "tea", 1)
	f.append("order-7", "tea", 1)
	f.want(exitDone, words("streams ls"), "STREAM", "cart-0   1", "order-7  2")
	f.want(exitDone, words("streams ls order"), "order-7")
	f.want(exitDone, words("streams ls other"), "there are no streams of category other")
	f.want(exitDone, words("streams ls --limit 1"), "cart-0", "and 3 more")
	f.wantValue(4, exitDone, "streams ls --limit 1", "total")
	f.wantValue("cart-0", exitDone, "streams ls", "streams.0.stream")
	if _, err := f.store().Delete(t.Context(), eventstore.MustStreamID("cart", "0"), eventstore.Any, eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	f.wantValue(2, exitDone, "streams ls cart", "total")
	f.want(exitDone, words("streams ls cart --ended"), "cart-0  2        deleted")
	f.want(exitUsage, words("streams ls --limit -1"), "--limit")
	f.want(exitUsage, words("streams ls NoCategory"), "invalid stream")
	f.want(exitUsage, words("streams ls a b"), `"b" is one argument too many`)
	f.with(env("namespace")+"=nobodys").want(exitAbsent, words("streams ls"), "there is no such namespace", "--namespace or PROJECTORD_NAMESPACE")
}

func TestStreamsShow(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitAbsent, words("streams show cart-1"), "there is no stream cart-1")
	f.append("cart-1", "tea <&>", 2)
	f.append("cart-1", "mug", 1)
	f.want(exitDone, words("streams show cart-1"), "cart-1@1  added, schema 1", `{"item":"tea <&>","qty":2}`, "cart-1@2")
	f.wantValue("tea <&>", exitDone, "streams show cart-1", "events.0.data.item")
	f.wantValue(2, exitDone, "streams show cart-1 --backward --limit 1", "events.0.version")
	f.want(exitDone, words("streams show cart-1 --from 2 -o yaml"), "head: 2", "- stream: cart-1\n    version: 2", "      item: mug")
	f.want(exitDone, words("streams show cart-1 --from 9"), "cart-1 has 2 events, and none of those asked for")
	f.wantValue("[]", exitDone, "streams show cart-1 --from 9", "events")
	f.want(exitUsage, words("streams show cart"), "invalid stream")
	f.want(exitUsage, words("streams show"), "STREAM is missing")
	f.want(exitUsage, words("streams show cart-1 --from x"), `--from is a whole number from 0 on, not "x"`)
	f.want(exitUsage, words("streams show cart-1 --limit x"), `--limit is a whole number, not "x"`)
	f.want(exitUsage, words("streams show cart-1 --backward=x"), `--backward is true or false, not "x"`)
	f.want(exitUsage, words("streams show cart-1 -o x"), `shop: --output is table, json or yaml, not "x"`)

	// What cannot be decoded is shown as it is, and nothing falls over.
	bad := eventstore.Event{ID: uuid.New(), Type: "added", SchemaVersion: 1, Data: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, Metadata: eventstore.Metadata{Correlation: "r1", Extra: map[string]string{"user": "ann"}}}
	other := eventstore.Event{ID: uuid.New(), Type: "added", SchemaVersion: 2, Data: []byte(`{"json":true}`)}
	if _, err := f.store().Append(t.Context(), eventstore.MustStreamID("cart", "2"), eventstore.NoStream, bad, other); err != nil {
		t.Fatal(err)
	}
	f.want(exitDone, words("streams show cart-2"), "5 bytes that cannot be decoded", "3f////8=", "correlation r1", "user ann", `{"json":true}`)
	f.wantValue("3f////8=", exitDone, "streams show cart-2", "events.0.raw")
}

func TestStreamsTail(t *testing.T) {
	t.Parallel()
	f := shop(t)
	for i := range 4 {
		f.append("cart-1", "tea", int64(i+1))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs transcript
	p := &program{app: f.app, out: &out, err: &errs, environ: f.environ}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, words("streams tail cart-1 --last 2 -o json")) }()
	saw := func(want string) func() error {
		return func() error {
			var got []string
			for line := range strings.Lines(out.String()) {
				var e eventView
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					return fmt.Errorf("%w in %q, %q", err, line, errs.String())
				}
				got = append(got, fmt.Sprint(e.Version))
			}
			if strings.Join(got, " ") != want {
				return fmt.Errorf("saw the versions %v, %s", got, errs.String())
			}
			return nil
		}
	}
	testenv.Wait(t, waitLong, saw("3 4"))
	f.append("cart-1", "mug", 1)
	testenv.Wait(t, waitLong, saw("3 4 5"))
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("told to stop it ended with code %d: %s", code, errs.String())
	}
	f.want(exitUsage, words("streams tail cart-1 --last -1"), "--last")
	f.want(exitUsage, words("streams tail cart"), "invalid stream")
}

func TestStreamsAppend(t *testing.T) {
	t.Parallel()
	f := bare(t, shopApp(1)) // which it creates
	do := func(more ...string) []string { return append(words("streams append cart-1 --type added"), more...) }
	id := uuid.NewString()
	f.want(exitDone, do("--data", `{"item":"tea","qty":2}`, "--id", id, "--expect", "none"), "cart-1@1  "+id)
	f.want(exitDone, do("--data", `{"item":"tea","qty":2}`, "--id", id, "--expect", "none"), "cart-1@1, where it was already")
	f.want(exitFailed, do("--data", `{"item":"tea","qty":2}`, "--expect", "none"), "conflict on cart-1", "shop streams show cart-1 shows what was appended", "--expect 1 appends behind it")
	f.want(exitUsage, do("--partitions", "5"), fmt.Sprintf("namespace %q was created with 16 partitions, which cannot change, and --partitions says 5: say 16, or leave it out", f.namespace))
	f.stdin = `{"item":"mug","qty":9007199254740993}`
	f.want(exitDone, do("--data", "-", "-o", "yaml"), "version: 2\n", "duplicate: false")
	f.want(exitDone, words("streams show cart-1"), `"qty":9007199254740993`)
	f.want(exitDone, do("--data", `{"item":"bun","qty":1}`, "--extra", "source=till=3, left", "--extra", "clerk="), "cart-1@3")
	f.wantValue("till=3, left", exitDone, "streams show cart-1 --from 3", "events.0.extra.source")
	f.want(exitDone, words("streams show cart-1 --from 3"), ", clerk , source till=3, left")
	f.want(exitUsage, do("--extra", "till"), `--extra is a key and a text with = between, not "till"`)
	f.want(exitUsage, do("--extra", "till=1", "--extra", "till=2"), `--extra is given twice for "till"`)
	f.want(exitUsage, words("streams append cart-1"), "--type is missing")
	f.want(exitUsage, do("--data", `{"item":`), "--data is no JSON")
	f.want(exitUsage, do("--data", `{} {}`), "more than one value")
	f.want(exitUsage, do("--data", "@/nowhere.json"), "--data")
	f.want(exitUsage, do("--expect", "some"), "--expect is any, none, exists or a version")
	f.want(exitUsage, do("--id", "7"), "--id is a UUID")
	f.want(exitUsage, do("--data", `{"item":1}`), "would park its stream, because it cannot be decoded: added schema 1: bad payload")
	f.want(exitUsage, do("--schema", "9"), "because shop knows no schema 9 of added, only older ones")
	f.want(exitUsage, words("streams append cart-1 --type $deleted"), "would park")
	f.want(exitUsage, words("streams append cart-1 --type unheard_of"), `because shop knows no event of type "unheard_of"`)
	f.wantValue(3, exitDone, "streams ls", "streams.0.head")
}

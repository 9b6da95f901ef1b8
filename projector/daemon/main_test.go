package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "DAEMON_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "1":
		Main(shopApp(1))
	case inBoth:
		Main(bothApp())
	case holding:
		Main(holdingApp())
	}
	testenv.Main(m, testenv.NoLeaks)
}

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

// added is the event of the shop that tests work with.
type added struct {
	Item string `msgpack:"item"`
	Qty  int64  `msgpack:"qty"`
}

// badQty is a quantity that cannot be folded.
const badQty = 13

// cart is the state of a stream. Its fields are exported for snapshots.
type cart struct{ Items map[string]int64 }

func shopEvents() *eventstore.Registry {
	events := eventstore.NewRegistry()
	eventstore.Register[added](events, "added", 1)
	return events
}

// carts is a projection of what is in each cart; version 2 counts the items too.
func carts(version int, events *eventstore.Registry) projector.Projection {
	p := projector.NewState("carts", projector.StateConfig[cart]{
		Version: version, Categories: []string{"cart"}, Events: events,
		New: func() cart { return cart{make(map[string]int64)} },
		Document: func(c *cart, d *projector.Document) {
			for item, qty := range c.Items {
				d.SetInt(item, qty)
			}
			if version > 1 {
				d.SetInt("items", int64(len(c.Items)))
			}
		},
	})
	projector.On(p, func(c *cart, e added) {
		if e.Qty == badQty {
			panic("thirteen of it")
		}
		c.Items[e.Item] += e.Qty
	})
	return p
}

// items is a projection of how much of each item is in all carts.
func items(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta("items", projector.DeltaConfig{Categories: []string{"cart"}, Events: events})
	projector.OnDelta(p, func(f *projector.Effects, e added, _ *eventstore.Recorded) { f.Row(e.Item).Add("qty", e.Qty) })
	return p
}

// shopApp is the program that tests run, all of whose read models are in Redis.
func shopApp(version int) App {
	events := shopEvents()
	return App{
		Name: "shop", Version: "v1.2.3", Events: events,
		Projections: []Projection{
			Keep(carts(version, events), InHashes("cart:current")),
			Keep(items(events), InRowHashes("item:totals")),
		},
		Retention: func(context.Context, *Backends) (map[string]projector.Rule, error) {
			return map[string]projector.Rule{"cart": {MaxCount: 1}}, nil
		},
	}
}

// tablesApp is the same with all of them in Postgres.
func tablesApp() App {
	events := shopEvents()
	return App{
		Name: "shop", Projections: []Projection{
			Keep(carts(1, events), InTable("carts")),
			Keep(items(events), InRows(pgsink.Column{Name: "qty", Kind: projector.Int})),
		},
	}
}

// transcript is what was written until now.
type transcript = testenv.Transcript

// result is what a run of the program left behind.
type result struct {
	code     int
	out, err string
}

// fixture is a program and a namespace of its own.
type fixture struct {
	*testing.T
	app       App
	namespace string
	environ   []string
	stdin     string
}

// bare returns a program in a namespace that does not exist yet.
func bare(t *testing.T, app App) *fixture {
	f := &fixture{T: t, app: app, namespace: testenv.Namespace(t)}
	f.environ = []string{env("redis-url") + "=" + testenv.RedisURL(t), env("namespace") + "=" + f.namespace, env("http") + "=off"}
	return f
}

// shop returns the shop in a namespace that exists and is empty.
func shop(t *testing.T) *fixture {
	f := bare(t, shopApp(1))
	f.store()
	return f
}

// store returns the store of the namespace, and creates it.
func (f *fixture) store() *redisstore.Store {
	f.Helper()
	store, err := redisstore.Open(f.Context(), testenv.Redis(f.T), redisstore.Config{Namespace: f.namespace, Partitions: 2})
	if err != nil {
		f.Fatal(err)
	}
	return store
}

// as returns the same namespace with another program.
func (f *fixture) as(app App) *fixture {
	other := *f
	other.app = app
	return &other
}

// with returns the same with other variables in the environment.
func (f *fixture) with(variables ...string) *fixture {
	other := *f
	for _, v := range variables {
		name, _, _ := strings.Cut(v, "=")
		kept := slices.DeleteFunc(slices.Clone(other.environ), func(old string) bool { return strings.HasPrefix(old, name+"=") })
		other.environ = append(kept, v)
	}
	return &other
}

// call runs the program within the test's process.
func (f *fixture) call(args ...string) result { return f.callUntil(f.Context(), args...) }

func (f *fixture) callUntil(ctx context.Context, args ...string) result {
	var out, err transcript
	p := &program{app: f.app, in: strings.NewReader(f.stdin), out: &out, err: &err, environ: f.environ}
	code := p.run(ctx, args)
	return result{code, out.String(), err.String()}
}

// inProgress is a run of the program that a test goes on beside.
type inProgress struct {
	*fixture
	out, err transcript
	code     chan int
}

// inBackground runs the program beside the test.
func (f *fixture) inBackground(args ...string) *inProgress {
	c := &inProgress{fixture: f, code: make(chan int, 1)}
	p := &program{app: f.app, in: strings.NewReader(f.stdin), out: &c.out, err: &c.err, environ: f.environ}
	go func() { c.code <- p.run(f.Context(), args) }()
	return c
}

// saying waits until it says something.
func (c *inProgress) saying(text string) {
	c.Helper()
	testenv.Wait(c, waitLong, func() error {
		if all := c.out.String() + c.err.String(); !strings.Contains(all, text) {
			return fmt.Errorf("it does not say %q: %s", text, all)
		}
		return nil
	})
}

// ended returns an error unless the run has ended, with code 0.
func (c *inProgress) ended() error {
	select {
	case code := <-c.code:
		if code != exitDone {
			c.Errorf("it ended with code %d: %s%s", code, c.out.String(), c.err.String())
		}
		return nil
	default:
		return fmt.Errorf("it has not ended: %s%s", c.out.String(), c.err.String())
	}
}

// want runs the program, which has to end with a code and say all of that: on the
// standard output where the code is 0, else anywhere.
func (f *fixture) want(code int, args []string, says ...string) string {
	f.Helper()
	r := f.call(args...)
	if r.code != code {
		f.Errorf("%s: code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.err)
		return r.out
	}
	text := r.out
	if code != exitDone {
		text += r.err
	}
	for _, want := range says {
		if !strings.Contains(text, want) {
			f.Errorf("%s does not say %q:\n%s", strings.Join(args, " "), want, text)
		}
	}
	return r.out
}

// words splits a command.
func words(command string) []string { return strings.Fields(command) }

// value runs the program, which has to end with a code, and returns the value at a path
// of the JSON it prints: object keys and list positions, with dots between.
func (f *fixture) value(code int, command, path string) any {
	f.Helper()
	out := f.want(code, append(words(command), "-o", "json"))
	var v any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		f.Errorf("%s -o json: %v\n%s", command, err, out)
		return nil
	}
	for key := range strings.SplitSeq(path, ".") {
		switch of := v.(type) {
		case map[string]any:
			v = of[key]
		case []any:
			var i int
			if fmt.Sscan(key, &i); i >= len(of) {
				f.Errorf("%s -o json has no %s:\n%s", command, path, out)
				return nil
			}
			v = of[i]
		}
	}
	return v
}

// wantValue compares what value returns, as text.
func (f *fixture) wantValue(want any, code int, command, path string) {
	f.Helper()
	if got := f.value(code, command, path); fmt.Sprint(got) != fmt.Sprint(want) {
		f.Errorf("%s -o json: %s is %v, want %v", command, path, got, want)
	}
}

// append appends an event.
func (f *fixture) append(stream, item string, qty int64) {
	f.Helper()
	event, err := shopEvents().Encode(added{item, qty})
	if err != nil {
		f.Fatal(err)
	}
	s, err := eventstore.ParseStreamID(stream)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := f.store().Append(f.Context(), s, eventstore.Any, event); err != nil {
		f.Fatal(err)
	}
}

// long is how many events a stream has to have for a snapshot of it to be taken.
const long = 64

// grow appends events to a stream, each of one more of the item.
func (f *fixture) grow(stream, item string, events int) {
	f.Helper()
	s, err := eventstore.ParseStreamID(stream)
	if err != nil {
		f.Fatal(err)
	}
	var all []eventstore.Event
	for range events {
		event, err := shopEvents().Encode(added{item, 1})
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, event)
	}
	if _, err := f.store().Append(f.Context(), s, eventstore.Any, all...); err != nil {
		f.Fatal(err)
	}
}

// work runs a worker until a condition holds, and returns what it logged.
func (f *fixture) work(until func() error, flags ...string) string {
	f.Helper()
	ctx, stop := context.WithCancel(f.Context())
	defer stop()
	var out, log transcript
	p := &program{app: f.app, out: &out, err: &log, environ: f.environ}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, append([]string{"run"}, flags...)) }()
	testenv.Wait(f, waitLong, func() error {
		if err := until(); err != nil {
			return fmt.Errorf("%w; the worker says %s", err, log.String())
		}
		return nil
	})
	stop()
	if code := <-ended; code != exitDone {
		f.Errorf("the worker ended with code %d: %s", code, log.String())
	}
	return log.String()
}

// says returns a condition: that a command prints something.
func (f *fixture) says(text string, args ...string) func() error {
	return func() error {
		if r := f.call(args...); !strings.Contains(r.out, text) {
			return fmt.Errorf("%s: %s%s", strings.Join(args, " "), r.out, r.err)
		}
		return nil
	}
}

// both joins conditions.
func both(conditions ...func() error) func() error {
	return func() error {
		for _, holds := range conditions {
			if err := holds(); err != nil {
				return err
			}
		}
		return nil
	}
}

// worked returns a shop with two carts, of which one is parked in carts if poisoned, and
// all else is in the read models.
func worked(t *testing.T, poisoned bool) *fixture {
	f := shop(t)
	f.append("cart-1", "tea", 2)
	f.append("cart-1", "mug", 1)
	f.append("cart-2", "tea", 1)
	holds := []func() error{
		f.says("tea", "get", "carts", "1"), f.says("mug", "get", "carts", "1"), f.says("tea", "get", "carts", "2"), f.says("3", "get", "items", "tea"),
	}
	if poisoned {
		f.append("cart-2", "mug", badQty)
		holds = append(holds, f.says("thirteen", "parked", "ls"), f.says("14", "get", "items", "mug"))
	}
	f.work(both(holds...))
	return f
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

var (
	demoCarts = []string{"ada", "ben", "cho", "dee", "eli"}
	demoItems = []string{"clock", "lamp", "mug", "scarf", "tea"}
)

const demoCommands = 200

func newDemo(k *daemon.Kit) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a small made-up shop, with a server inside the process",
		Long: `Shows what the carts of a shop are like on a small made-up shop: commands, refusals, two
projections, and a read model that is thrown away and built again. It needs no server,
and is the same on every run.`,
		Example: "  cart demo",
		Args:    daemon.Arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), k.Out()) },
	}
}

// demoShop is a shop on a server inside the process.
type demoShop struct {
	projector.Operator
	client      *redis.Client
	store       *redisstore.Store
	projections []projector.Assignment
}

func openDemo(ctx context.Context, url string) (*demoShop, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	at := &demoShop{client: redis.NewClient(options)}
	if at.store, err = redisstore.Open(ctx, at.client, redisstore.Config{}); err != nil {
		return nil, err
	}
	at.Store = at.store
	if at.Log, err = lease.NewLog(at.client, lease.Config{Namespace: at.store.Namespace(), Partitions: at.store.Partitions()}); err != nil {
		return nil, err
	}
	if at.Generations, err = generations.New(at.client, at.store.Namespace()); err != nil {
		return nil, err
	}
	events := shop.Define().Registry()
	for _, kept := range []struct {
		projector.Projection
		model string
	}{{shop.Current(events), shop.CurrentModel}, {shop.Chain(events), shop.ChainModel}} {
		sink, err := redissink.New(at.client, at.store.Namespace(), kept.model)
		if err != nil {
			return nil, err
		}
		at.projections = append(at.projections, projector.Assignment{Projection: kept.Projection, Sink: sink})
	}
	return at, nil
}

// demo shows a small shop from commands to read models, and that a read model can be
// thrown away.
func demo(ctx context.Context, out io.Writer) error {
	server, err := embedded.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	at, err := openDemo(ctx, server.URL())
	if err != nil {
		return err
	}
	defer at.client.Close()

	fmt.Fprintf(out, "A shop with %d carts, on a server inside this process.\n", len(demoCarts))
	for _, step := range []struct {
		title string
		run   func(context.Context, *demoShop, io.Writer) error
	}{
		{"Customers do this and that", demoTrade},
		{"Nonsense is refused", demoRefuse},
		{"Two projections fold the events into read models", demoProject},
		{"The read model of cart_current is deleted, and built again from the first event", demoRebuild},
	} {
		fmt.Fprintf(out, "\n%s\n", step.title)
		if err := step.run(ctx, at, out); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(step.title), err)
		}
	}
	fmt.Fprint(out, `
Try next, with a redis-server running on this machine:
  go run ./examples/cart import FILE        a real shop's history; -h tells which
  go run ./examples/cart project            its read models
  go run ./examples/cart run                the same for as long as it runs; start several
  go run ./examples/cart listing holdings   all of them
The domain is in examples/cart/shop; add an event there and see what has to change.
`)
	return nil
}

// demoTrade executes commands made up by chance; what they would do wrong is
// refused.
func demoTrade(ctx context.Context, at *demoShop, out io.Writer) error {
	repository := aggregates.NewRepository(at.store, shop.Define(), aggregates.Config{})
	random := rand.New(rand.NewPCG(2, 11))
	done, refused := 0, 0
	for n := range demoCommands {
		item, ref := random.IntN(len(demoItems)), fmt.Sprintf("order-%d", n)
		qty, price := 1+random.Int64N(4), int64(item+1)*2_490
		decide := shop.AddItem(demoItems[item], qty, price, ref)
		switch random.IntN(5) {
		case 0:
			decide = shop.RemoveItem(demoItems[item], qty, price, ref)
		case 1:
			decide = shop.CheckOut(ref)
		}
		_, err := repository.Execute(ctx, demoCarts[random.IntN(len(demoCarts))], decide)
		switch {
		case err == nil:
			done++
		case isRefusal(err):
			refused++
		default:
			return err
		}
	}
	fmt.Fprintf(out, "  %d commands took effect, %d were refused\n", done, refused)
	return nil
}

// refusals are what the shop's commands are refused with.
var refusals = []error{shop.ErrItem, shop.ErrQuantity, shop.ErrPrice, shop.ErrNotInCart, shop.ErrNothingToPay}

func isRefusal(err error) bool {
	return slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) })
}

func demoRefuse(ctx context.Context, at *demoShop, out io.Writer) error {
	repository := aggregates.NewRepository(at.store, shop.Define(), aggregates.Config{})
	for _, c := range []struct {
		what, cart string
		decide     shop.Decision
	}{
		{"ada adds -3 mugs", "ada", shop.AddItem("mug", -3, 2_490, "order-a")},
		{"ben removes 1,000 lamps", "ben", shop.RemoveItem("lamp", 1_000, 4_980, "order-b")},
		{"fay pays for an empty cart", "fay", shop.CheckOut("order-c")},
	} {
		_, err := repository.Execute(ctx, c.cart, c.decide)
		if !isRefusal(err) {
			return fmt.Errorf("%s: it was not refused: %w", c.what, err)
		}
		fmt.Fprintf(out, "  %s: %v\n", c.what, err)
	}
	return nil
}

func demoProject(ctx context.Context, at *demoShop, out io.Writer) error {
	for _, a := range at.projections {
		report, err := catchUp(ctx, at.Operator, a, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s: %s into %s\n", a.Projection.Name(), many(report.Events, "event"), many(report.Documents, "document"))
	}
	current, err := at.all(ctx, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		return err
	}
	chains, err := at.all(ctx, shop.ChainProjection, shop.ChainModel)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  cart\t%s\t%s\tchain\n", strings.Join(shop.CounterFields[:3], "\t"), strings.Join(demoItems, "\t"))
	for _, cart := range slices.Sorted(maps.Keys(current)) {
		fmt.Fprintf(table, "  %s", cart)
		for _, name := range shop.CounterFields[:3] {
			fmt.Fprintf(table, "\t%s", current[cart][name])
		}
		for _, item := range demoItems {
			fmt.Fprintf(table, "\t%s", cmp.Or(current[cart][shop.ItemField+item], "-"))
		}
		fmt.Fprintf(table, "\t%.8s…\n", chains[cart][shop.HashField])
	}
	return table.Flush()
}

// demoRebuild deletes the documents together with the checkpoints in them, so
// that projecting begins at the first event again.
func demoRebuild(ctx context.Context, at *demoShop, out io.Writer) error {
	before, err := at.all(ctx, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		return err
	}
	name := keyspace.ModelName(at.store.Namespace(), shop.CurrentModel)
	for cart := range before {
		if err := at.client.Del(ctx, keyspace.Document(name, 1, cart)).Err(); err != nil {
			return err
		}
	}
	gone, err := at.all(ctx, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		return err
	}
	report, err := catchUp(ctx, at.Operator, at.projections[0], nil)
	if err != nil {
		return err
	}
	after, err := at.all(ctx, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		return err
	}
	if len(gone) != 0 || len(before) != len(demoCarts) || !maps.EqualFunc(before, after, maps.Equal) {
		return fmt.Errorf("%d documents before, %d deleted, and not the same after", len(before), len(before)-len(gone))
	}
	fmt.Fprintf(out, "  %d documents deleted; %d events folded into %d documents, equal to those before\n", len(before), report.Events, report.Documents)
	return nil
}

// all returns the documents of a read model by cart.
func (at *demoShop) all(ctx context.Context, projection, name string) (map[string]map[string]string, error) {
	reader, err := redissink.NewReader(at.client, at.store.Namespace(), projection, name)
	if err != nil {
		return nil, err
	}
	all := make(map[string]map[string]string)
	_, err = documents(ctx, at.store, reader, func(d document) { all[d.cart] = d.fields })
	return all, err
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/orders/bank"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/daemon"
)

// newPlace is the command that places an order.
func newPlace(kit *daemon.Kit, s *shop) *cobra.Command {
	p, front := order.Placed{}, ""
	cmd := &cobra.Command{
		Use:   "place ORDER USER",
		Short: "Place an order",
		Long: `Places an order, which is the stream order-ORDER, and notes it in the log of the front. Doing
it again, with the same words, changes nothing, so it can be repeated whenever it is not known
whether it was done.`,
		Args: daemon.Arguments("ORDER", "USER"),
		RunE: kit.OnNew(func(ctx context.Context, at *daemon.Space, args []string) error {
			p.User = args[1]
			if !slices.ContainsFunc(lanes, func(l balancer.Lane) bool { return l.Name == p.Lane }) {
				return daemon.Usage("--lane is high, normal or low, not %q", p.Lane)
			}
			if err := s.place(ctx, at.Store, front, args[0], p); err != nil {
				return err
			}
			fmt.Fprintf(kit.Out(), "order %s of %s is placed\n", args[0], p.User)
			return nil
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&p.Product, "product", "tea", "what is ordered")
	flags.Int64Var(&p.Quantity, "quantity", 1, "how much of it")
	flags.Int64Var(&p.AmountCents, "cents", 250, "what it costs in all; from 100000 on the bank declines")
	flags.StringVar(&p.Lane, "lane", "normal", "how urgent it is: high, normal or low")
	flags.StringVar(&front, "front", "web", "where it is placed")
	return cmd
}

// place places an order. It can be repeated.
func (s *shop) place(ctx context.Context, store eventstore.Store, front, id string, p order.Placed) error {
	if _, err := s.repository(store).Execute(ctx, id, order.Place(p)); err != nil {
		return fmt.Errorf("order %s: %w", id, err)
	}
	log, err := eventstore.NewStreamID(order.ArrivalsCategory, front)
	if err != nil {
		return daemon.Usage("%w", err)
	}
	arrived, err := s.events.Encode(order.Arrived{Order: id, Product: p.Product, User: p.User, Quantity: p.Quantity})
	if err != nil {
		return err
	}
	arrived.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(log.String()+" "+id)) // so that it is there once
	_, err = store.Append(ctx, log, eventstore.Any, arrived)
	return err
}

// newPick is the command that is a picker.
func newPick(kit *daemon.Kit, s *shop) *cobra.Command {
	config, takes := balancer.WorkerConfig{}, time.Duration(0)
	cmd := &cobra.Command{
		Use:   "pick",
		Short: "Pick charged orders until stopped",
		Long: `Is given charged orders, the urgent ones first, and picks them. What it has not picked when
it is stopped goes to other pickers at once, and when it is killed after the TTL.`,
		Args: daemon.Arguments(),
		RunE: kit.OnNew(func(ctx context.Context, at *daemon.Space, _ []string) error {
			l, err := openLanes(ctx, at.Redis, at.Namespace)
			if err != nil {
				return err
			}
			w, err := l.Join(ctx, config)
			if err != nil {
				return err
			}
			var mu sync.Mutex // of the output
			say := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(kit.Out(), "%s %s\n", w.ID(), fmt.Sprintf(format, args...))
			}
			say("begins")
			return (&picker{w, s.repository(at.Store), takes, say}).run(ctx)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Name, "as", "", "the picker's `name`; else that of POD_NAME, POD_IP or the host")
	flags.IntVar(&config.Capacity, "places", 10, "how many orders it has at a time; with fewer than 10 the lanes do not come to their shares")
	flags.DurationVar(&config.TTL, "within", time.Second, "how long its orders rest after it died")
	flags.DurationVar(&takes, "takes", time.Second, "how long it takes to pick an order")
	return cmd
}

// newPicking is the command that tells who picks what.
func newPicking(kit *daemon.Kit) *cobra.Command {
	return &cobra.Command{
		Use:   "picking",
		Short: "List the orders that are handed out and not picked, with who has which since when",
		Args:  daemon.Arguments(),
		RunE: kit.On(func(ctx context.Context, at *daemon.Space, _ []string) error {
			all, err := picking(ctx, at.Redis, at.Namespace)
			if err != nil {
				return err
			}
			return kit.Print(all)
		}),
	}
}

// pickingView are orders that are handed out and not picked.
type pickingView []handedOut

type handedOut struct {
	Order string `json:"order"`
	Lane  string `json:"lane"`
	// Picker is who has it; empty where nobody has who lives.
	Picker string `json:"picker,omitempty"`
	// Idle is how long ago it was given to that one.
	Idle time.Duration `json:"idle,omitempty"`
}

func (v pickingView) Show(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ORDER\tLANE\tPICKER\tFOR")
	for _, o := range v {
		idle := "-"
		if o.Picker != "" {
			idle = o.Idle.Round(time.Millisecond).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", o.Order, o.Lane, cmp.Or(o.Picker, "-"), idle)
	}
	_ = table.Flush()
}

// picking returns what is handed out and not picked, and says by XPENDING since when.
func picking(ctx context.Context, client redis.UniversalClient, namespace string) (pickingView, error) {
	l, err := openLanes(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	all, err := handedOutIn(ctx, l)
	if err != nil {
		return nil, err
	}
	given := make(map[string]time.Duration)
	pending, err := pendingIn(ctx, client, l)
	if err != nil {
		return nil, err
	}
	for _, p := range pending {
		given[p.lane+" "+p.order] = p.idle
	}
	for i, o := range all {
		all[i].Idle = given[o.Lane+" "+o.Order]
	}
	return all, nil
}

// handedOutIn returns the same without saying since when.
func handedOutIn(ctx context.Context, l *balancer.Lanes) (pickingView, error) {
	all := pickingView{}
	for s, err := range l.Streams(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, handedOut{Order: s.Stream, Lane: s.Lane, Picker: s.Worker})
	}
	slices.SortStableFunc(all, func(a, b handedOut) int { return strings.Compare(a.Lane+a.Order, b.Lane+b.Order) })
	return all, nil
}

// newBank is the command that runs a bank.
func newBank(kit *daemon.Kit) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "bank",
		Short: "Run the make-believe of a bank until stopped",
		Long: `Answers HTTP as a payment service would. It declines what is more than 1,000.00, has no account
of the user eve until an event account_opened of account-eve says so, and charges of the user
tim time out twice. It forgets everything when it ends.`,
		Args: daemon.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := net.Listen("tcp", at)
			if err != nil {
				return daemon.Usage("--listen: %w", err)
			}
			fmt.Fprintf(kit.Out(), "the bank is at http://%s\n", listener.Addr())
			return serveUntil(cmd.Context(), listener, bank.New())
		},
	}
	cmd.Flags().StringVar(&at, "listen", defaultListen, "`address` it answers at")
	return cmd
}

// serveUntil answers HTTP until ctx ends.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/projector/daemon"
)

// newSend is the command that has a user notified.
func newSend(kit *daemon.Kit, events *eventstore.Registry) *cobra.Command {
	return &cobra.Command{
		Use:   "send USER TYPE MESSAGE",
		Short: "Append a notification to the stream of a user",
		Long: `Appends a notification to the stream of a user: user-7 for USER 7. TYPE is new_follower,
feature or security; the latter two are product updates.`,
		Args: daemon.Arguments("USER", "TYPE", "MESSAGE"),
		RunE: kit.OnNew(func(ctx context.Context, at *daemon.Space, args []string) error {
			e, err := notification(args[1], args[2])
			if err != nil {
				return err
			}
			stream, err := eventstore.NewStreamID(category, args[0])
			if err != nil {
				return daemon.Usage("%w", err)
			}
			event, err := events.Encode(e)
			if err != nil {
				return err
			}
			appended, err := at.Store.Append(ctx, stream, eventstore.Any, event)
			if err != nil {
				return err
			}
			return kit.Print(sent{stream.String(), appended.Last, event.ID.String()})
		}),
	}
}

// notification returns an event of what people call a type.
func notification(kind, message string) (any, error) {
	switch kind {
	case newFollower:
		return NewFollower{Message: message}, nil
	case feature, security:
		return ProductUpdate{Type: kind, Message: message}, nil
	}
	return nil, daemon.Usage("TYPE is %s, %s or %s, not %q", newFollower, feature, security, kind)
}

// sent is what the command prints.
type sent struct {
	User    string             `json:"user"`
	Version eventstore.Version `json:"version"`
	Event   string             `json:"event"`
}

func (s sent) Show(w io.Writer) { fmt.Fprintf(w, "notification %d of %s\n", s.Version, s.User) }

// newDeliveries is the command that tells what the provider counts.
func newDeliveries(kit *daemon.Kit, to *provider.Client) *cobra.Command {
	return &cobra.Command{
		Use:   "deliveries",
		Short: "Print what the provider was asked to deliver, and what it delivered",
		Args:  daemon.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			counts, err := to.Counts(cmd.Context())
			if err != nil {
				return atProvider(to, err)
			}
			return kit.Print(countsView(counts))
		},
	}
}

// atProvider says where the provider is that there is something wrong with.
func atProvider(to *provider.Client, err error) error {
	return fmt.Errorf("%w (is the provider at %s? %s says where it is, and notifications provider is one)", err, to.URL, providerVariable)
}

// countsView is what happened at the provider.
type countsView []provider.Counts

func (v countsView) Show(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CHANNEL\tCALLS\tDELIVERIES\tREPEATED\tFAILED\tREFUSED\tBY")
	for _, c := range v {
		by := []string{}
		for _, worker := range slices.Sorted(maps.Keys(c.Workers)) {
			by = append(by, fmt.Sprintf("%s %d", worker, c.Workers[worker]))
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", c.Channel, c.Calls, c.Deliveries, c.Repeated, c.Failed, c.Refused, strings.Join(by, ", "))
	}
	_ = table.Flush()
}

// newFault is the command that has something go wrong at the provider.
func newFault(kit *daemon.Kit, to *provider.Client) *cobra.Command {
	var f provider.Fault
	cmd := &cobra.Command{
		Use:   "fault CHANNEL",
		Short: "Have something go wrong at the provider, or no longer",
		Args:  daemon.Arguments("CHANNEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Channel = args[0]
			if err := to.Set(cmd.Context(), f); err != nil {
				return atProvider(to, err)
			}
			fmt.Fprintf(kit.Out(), "the provider does so in %s from now on\n", f.Channel)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Slow, "slow", "", "how long calls wait before anything is done for them; 0s has all go on")
	flags.IntVar(&f.Fail, "fail", 0, "how `many` of the next calls fail")
	flags.IntVar(&f.Lose, "lose", 0, "of how `many` of the next deliveries the reply is lost")
	flags.StringVar(&f.Refuse, "refuse", "", "a `user` that nothing is delivered to, such as user-7")
	flags.StringVar(&f.Accept, "accept", "", "a `user` that is reached again")
	return cmd
}

// newProvider is the command that runs a provider.
func newProvider(kit *daemon.Kit, to *provider.Client) *cobra.Command {
	return &cobra.Command{
		Use:   "provider",
		Short: "Run the make-believe of a provider until stopped",
		Long: `Answers HTTP as a provider of e-mail, short messages and such would, and delivers nothing.
It is where ` + providerVariable + ` says, ` + defaultProvider + ` unless set, and forgets what it has
counted when it ends.`,
		Args: daemon.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := url.Parse(to.URL)
			if err != nil {
				return daemon.Usage("%s: %w", providerVariable, err)
			}
			listener, err := net.Listen("tcp", at.Host)
			if err != nil {
				return daemon.Usage("%s: %w", providerVariable, err)
			}
			fmt.Fprintf(kit.Out(), "the provider is at http://%s\n", listener.Addr())
			return serveUntil(cmd.Context(), listener, provider.New(provider.Config{}))
		},
	}
}

// serveUntil answers HTTP until ctx ends; calls that are under way end with it.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Command handout shows projector/balancer: streams are announced, and handed out to
// workers that do nothing with them but hold them for a while.
//
//	handout                        what it is about, on an embedded server
//	handout announce STREAM INFO   announce a stream
//	handout ls                     list what is announced, and who has it
//	handout work                   be given streams until it is stopped
//
// Without arguments it needs no server. The commands take the Redis of
// PROJECTORD_REDIS_URL, or that of this machine.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/projector/balancer"
)

const usageText = `handout shows how streams are handed out to workers.

  handout                        what it is about, on an embedded server
  handout announce STREAM INFO   announce a stream
  handout ls                     list what is announced, and who has it
  handout work [FLAGS]           be given streams until it is stopped; work -h lists the flags

The commands take the Redis of PROJECTORD_REDIS_URL, or that of this machine.
`

// errUsage says that the program was called in a way that it does not have.
var errUsage = errors.New("handout -h says how it is called")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "handout:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "handout:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return story(ctx, out)
	}
	command, err := parse(args, out)
	if command == nil || err != nil {
		return err
	}
	options, err := redis.ParseURL(cmp.Or(os.Getenv("PROJECTORD_REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	b, err := balancer.Open(ctx, client, balancer.Config{Namespace: "handout"})
	if err != nil {
		return err
	}
	return command(ctx, b)
}

// parse returns the command that is called, nil where help is asked for, which it prints.
// It needs no server.
func parse(args []string, out io.Writer) (func(context.Context, *balancer.Balancer) error, error) {
	name, args := args[0], args[1:]
	help := []string{"-h", "-help", "--help", "help"}
	switch {
	case slices.Contains(help, name), name != "work" && len(args) == 1 && slices.Contains(help, args[0]):
		fmt.Fprint(out, usageText)
		return nil, nil
	case name == "announce" && len(args) == 2:
		return func(ctx context.Context, b *balancer.Balancer) error {
			return b.Announce(ctx, balancer.Announcement{Stream: args[0], Info: []byte(args[1])})
		}, nil
	case name == "announce":
		return nil, fmt.Errorf("announce takes STREAM and INFO: %w", errUsage)
	case name == "ls" && len(args) == 0:
		return func(ctx context.Context, b *balancer.Balancer) error { return list(ctx, b, out) }, nil
	case name == "ls":
		return nil, fmt.Errorf("ls takes nothing: %w", errUsage)
	case name == "work":
		return parseWork(args, out)
	}
	return nil, fmt.Errorf("there is no command %q: %w", name, errUsage)
}

// parseWork returns what is a worker until its context ends.
func parseWork(args []string, out io.Writer) (func(context.Context, *balancer.Balancer) error, error) {
	flags := flag.NewFlagSet("work", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	name := flags.String("name", "", "the worker's `name`; else that of POD_NAME, POD_IP or the host")
	capacity := flags.Int("capacity", 100, "how many streams it has at most")
	ttl := flags.Duration("ttl", time.Second, "how long its streams rest after it died")
	takes := flags.Duration("takes", time.Second, "how long it works on a stream")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(out, "handout work: be given streams until it is stopped")
		flags.SetOutput(out)
		flags.PrintDefaults()
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("work: %w: %w", err, errUsage)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("work takes flags only, not %q: %w", flags.Arg(0), errUsage)
	}
	return func(ctx context.Context, b *balancer.Balancer) error {
		w, err := b.Join(ctx, balancer.WorkerConfig{Name: *name, Capacity: *capacity, TTL: *ttl})
		if err != nil {
			return err
		}
		go func() {
			<-ctx.Done()
			if err := w.Close(context.WithoutCancel(ctx)); err != nil {
				fmt.Fprintln(os.Stderr, "handout:", err)
			}
		}()
		return follow(w, *takes, out)
	}, nil
}

// follow does what a worker is told, until it has ended.
func follow(w *balancer.Worker, takes time.Duration, out io.Writer) error {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for n := range w.Notifications() {
		switch n.Kind {
		case balancer.Assigned:
			fmt.Fprintf(out, "%s has %s: %s\n", w.ID(), n.Stream, n.Info)
			ctx := w.Context(n.Assignment) // ends when the stream is lost
			handlers.Go(func() {
				select {
				case <-ctx.Done():
				case <-time.After(takes): // the work
					if err := w.Finish(ctx, n.Assignment); err == nil {
						fmt.Fprintf(out, "%s has finished %s\n", w.ID(), n.Stream)
					} // else the worker goes on with it, or has lost the stream
				}
			})
		case balancer.Disowned:
			fmt.Fprintf(out, "%s has lost %s: %v\n", w.ID(), n.Stream, n.Err)
		case balancer.Terminated:
			return n.Err
		}
	}
	return nil
}

// list prints what is announced and not finished.
func list(ctx context.Context, b *balancer.Balancer, out io.Writer) error {
	var all []balancer.Status
	for s, err := range b.Streams(ctx) {
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b balancer.Status) int { return strings.Compare(a.Stream, b.Stream) })
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STREAM\tINFO\tWORKER")
	for _, s := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Stream, s.Info, cmp.Or(s.Worker, "-"))
	}
	return table.Flush()
}

// story is what the package is about, on an embedded server.
func story(ctx context.Context, out io.Writer) error {
	server, err := embedded.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()
	b, err := balancer.Open(ctx, client, balancer.Config{Namespace: "handout"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Three streams are announced, and a worker that has room for two begins.")
	for _, stream := range []string{"cart-1", "cart-2", "cart-3"} {
		if err := b.Announce(ctx, balancer.Announcement{Stream: stream, Info: []byte("from the story")}); err != nil {
			return err
		}
	}
	one, err := b.Join(ctx, balancer.WorkerConfig{Name: "one", Capacity: 2})
	if err != nil {
		return err
	}
	for range 2 {
		n := <-one.Notifications()
		fmt.Fprintf(out, "one has %s\n", n.Stream)
	}
	fmt.Fprintln(out, "It ends without having finished anything, and another one begins.")
	if err := one.Close(ctx); err != nil {
		return err
	}
	two, err := b.Join(ctx, balancer.WorkerConfig{Name: "two"})
	if err != nil {
		return err
	}
	for range 3 {
		n := <-two.Notifications()
		fmt.Fprintf(out, "two has %s, taken over: %t\n", n.Stream, n.TakenOver)
		if err := two.Finish(ctx, n.Assignment); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "It has finished all of them.")
	return two.Close(ctx)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/history"
)

func newImport(c *connection, s streams) *cobra.Command {
	var onError string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Append the history of a shop",
		Long: `Appends historic events, in order per cart. FILE holds either the columns of
UCI "Online Retail" as csv, or one event per line as JSON; plain, gzip or zstd.
A dash reads standard input.

Importing again adds nothing, and after an interruption goes on where it
stopped: every event's id follows from its cart and its place there. So a file
that was changed before events already imported, also by mending a line that
was skipped, goes into another namespace.`,
		Example: `  cart import online-retail.csv.zst
  cart import events.ndjson.zst --namespace shop2
  curl -s https://example.org/events.ndjson.gz | cart import - --on-error skip`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if onError != "stop" && onError != "skip" {
				return usageError{fmt.Errorf("--on-error is stop or skip, not %q", onError)}
			}
			i := &importing{file: args[0], skip: onError == "skip", streams: s}
			return i.run(cmd.Context(), c)
		},
	}
	cmd.Flags().StringVar(&onError, "on-error", "stop", "what to do at a bad line, `stop|skip`: skipped ones are told at the end")
	return cmd
}

// importing is one run of the import command.
type importing struct {
	streams
	file string
	skip bool

	skipped    []*history.LineError // the first ones
	bad        int                  // how many there are in all
	unreadable error                // why reading ended early

	settled atomic.Int64 // facts the store has answered for
	total   atomic.Int64 // facts in the file, 0 while that is not known
	dealt   atomic.Int64 // facts read so far
}

// maxListed is how many skipped lines are told one by one.
const maxListed = 20

func (i *importing) run(ctx context.Context, c *connection) error {
	input, size, err := i.open(ctx)
	if err != nil {
		return err
	}
	defer input.Close()
	h, err := history.Open(input)
	if err != nil {
		return fmt.Errorf("reading %s: %w", i.name(), plain(err))
	}
	defer h.Close()
	at, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer at.close()

	start := time.Now()
	stop := showProgress(i.err, "import", func() progress {
		p := progress{unit: "events", done: i.settled.Load(), total: i.total.Load()}
		p.events = p.done
		if read := input.read.Load(); p.total == 0 && size > 0 && read > 0 {
			p.total, p.guess = i.dealt.Load()*size/read, true
		}
		return p
	})
	result, err := history.Import(ctx, at.store, i.facts(h), history.Config{
		Progress: func(n int) { i.settled.Add(int64(n)) },
		BadLine:  i.badLine,
	})
	stop()
	i.tellSkipped()
	if err != nil {
		return i.explain(err, result)
	}
	i.tell(result, h.Form, time.Since(start))
	return nil
}

// facts counts the facts that pass.
func (i *importing) facts(h *history.History) func(yield func(history.Fact, error) bool) {
	return func(yield func(history.Fact, error) bool) {
		for f, err := range h.Facts() {
			if i.dealt.Add(1) == 1 {
				i.total.Store(int64(h.Total()))
			}
			if err != nil && !errors.Is(err, context.Canceled) && !errors.As(err, new(*history.LineError)) {
				i.unreadable = err
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

func (i *importing) badLine(e *history.LineError) error {
	if !i.skip {
		return e
	}
	i.bad++
	if len(i.skipped) < maxListed {
		i.skipped = append(i.skipped, e)
	}
	return nil
}

func (i *importing) tellSkipped() {
	if i.bad == 0 {
		return
	}
	fmt.Fprintf(i.err, "%s lines were skipped:\n", count(i.bad))
	for _, e := range i.skipped {
		fmt.Fprintf(i.err, "  %v\n", e)
	}
	if more := i.bad - len(i.skipped); more > 0 {
		fmt.Fprintf(i.err, "  and %s more\n", count(more))
	}
}

func (i *importing) tell(r history.Result, form string, took time.Duration) {
	all := r.Added + r.Present
	rate := fmt.Sprintf("%.1f s, %s events/s", took.Seconds(), count(perSecond(int64(all), took)))
	switch {
	case all == 0:
		fmt.Fprintf(i.out, "there are no events in it, 0 added\n")
	case r.Added == 0:
		fmt.Fprintf(i.out, "%s events are there already, 0 added (%s)\n", count(all), rate)
	default:
		fmt.Fprintf(i.out, "%s events of %s carts read as %s: %s added, %s were there already (%s)\n",
			count(all), count(r.Carts), form, count(r.Added), count(r.Present), rate)
	}
}

// explain says where the import stands after an error and how to go on.
func (i *importing) explain(err error, r history.Result) error {
	hint := "; the same command again goes on where this one stopped"
	switch bad := new(history.LineError); {
	case errors.As(err, &bad):
		hint = "; mend the line, or leave such lines out by --on-error skip"
	case errors.Is(err, history.ErrOtherEvents), errors.Is(err, history.ErrEnded), errors.Is(err, eventstore.ErrHole), i.unreadable != nil && r.Added+r.Present == 0:
		hint = ""
	case i.unreadable != nil:
		hint = "; once the file is whole, the same command goes on where this one stopped"
	}
	return fmt.Errorf("importing %s: %w\n%s events were added, %s were there already%s",
		i.name(), plain(err), count(r.Added), count(r.Present), hint)
}

// plain says in a user's words that the program was told to stop.
func plain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

func (i *importing) name() string {
	if i.file == "-" {
		return "standard input"
	}
	return i.file
}

// input is a file that counts what was read and ends with its context.
type input struct {
	io.ReadCloser
	ctx  context.Context
	read atomic.Int64
}

func (in *input) Read(b []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.ReadCloser.Read(b)
	in.read.Add(int64(n))
	return n, err
}

// open opens the file; its size is 0 where that is not known.
func (i *importing) open(ctx context.Context) (in *input, size int64, err error) {
	if i.file == "-" {
		// A read of standard input cannot be interrupted, so it happens
		// elsewhere, and waiting for it can be.
		r, w := io.Pipe()
		go func() {
			_, err := io.Copy(w, i.in)
			w.CloseWithError(err)
		}()
		context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
		return &input{ReadCloser: r, ctx: ctx}, 0, nil
	}
	f, err := os.Open(i.file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", i.file)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return &input{ReadCloser: f, ctx: ctx}, info.Size(), nil
}

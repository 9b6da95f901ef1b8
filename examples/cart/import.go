package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/history"
	"github.com/projectord/projectord/projector/daemon"
)

func newImport(k *daemon.Kit) *cobra.Command {
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
		Args: daemon.Arguments("FILE"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault // files
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if onError != "stop" && onError != "skip" {
				return daemon.Usage("--on-error is stop or skip, not %q", onError)
			}
			i := &importing{Kit: k, file: args[0], skip: onError == "skip"}
			// What cannot be read is found out before a server is asked.
			h, err := i.open(cmd.Context())
			if err != nil {
				return err
			}
			defer i.input.Close()
			defer h.Close()
			return k.OnNew(func(ctx context.Context, at *daemon.Space, _ []string) error {
				return i.run(ctx, at.Store, h)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&onError, "on-error", "stop", "what to do at a bad line, `stop|skip`: skipped ones are told at the end")
	return cmd
}

// importing is one run of the import command.
type importing struct {
	*daemon.Kit
	file string
	skip bool

	input *input
	size  int64 // of the file, 0 where that is not known

	skipped    []*history.LineError // the first ones
	bad        int                  // how many there are in all
	unreadable error                // why reading ended early

	settled atomic.Int64 // facts the store has answered for
	total   atomic.Int64 // facts in the file, 0 while that is not known
	dealt   atomic.Int64 // facts read so far
}

// maxListed is how many skipped lines are told one by one.
const maxListed = 20

// open opens the history.
func (i *importing) open(ctx context.Context) (*history.History, error) {
	var err error
	if i.input, i.size, err = i.reading(ctx); err != nil {
		return nil, err
	}
	h, err := history.Open(i.input)
	if err != nil {
		i.input.Close()
		return nil, fmt.Errorf("reading %s: %w", i.name(), plain(err))
	}
	return h, nil
}

func (i *importing) run(ctx context.Context, store eventstore.Store, h *history.History) error {
	start := time.Now()
	stop := showProgress(i.Err(), "import", func() progress {
		p := progress{unit: "events", done: i.settled.Load(), total: i.total.Load()}
		p.events = p.done
		if read := i.input.read.Load(); p.total == 0 && i.size > 0 && read > 0 {
			p.total, p.guess = i.dealt.Load()*i.size/read, true
		}
		return p
	})
	result, err := history.Import(ctx, store, i.facts(h), history.Config{
		Progress: func(n int) { i.settled.Add(int64(n)) },
		BadLine:  i.badLine,
	})
	stop()
	i.tellSkipped()
	if err != nil {
		return i.explain(err, result)
	}
	return i.Print(importedView{result.Added + result.Present, result.Carts, h.Form, result.Added, result.Present, time.Since(start).Seconds()})
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
	fmt.Fprintf(i.Err(), "%s lines were skipped:\n", count(i.bad))
	for _, e := range i.skipped {
		fmt.Fprintf(i.Err(), "  %v\n", e)
	}
	if more := i.bad - len(i.skipped); more > 0 {
		fmt.Fprintf(i.Err(), "  and %s more\n", count(more))
	}
}

// importedView is what was imported.
type importedView struct {
	Events  int     `json:"events"`
	Carts   int     `json:"carts"`
	Form    string  `json:"form"`
	Added   int     `json:"added"`
	Present int     `json:"present"`
	Seconds float64 `json:"seconds"`
}

// Show implements [daemon.View].
func (v importedView) Show(w io.Writer) {
	rate := rateText(v.Events, v.Seconds)
	switch {
	case v.Events == 0:
		fmt.Fprintf(w, "there are no events in it, 0 added\n")
	case v.Added == 0:
		fmt.Fprintf(w, "%s events are there already, 0 added %s\n", count(v.Events), rate)
	default:
		fmt.Fprintf(w, "%s events of %s carts read as %s: %s added, %s were there already %s\n",
			count(v.Events), count(v.Carts), v.Form, count(v.Added), count(v.Present), rate)
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

// reading opens the file; its size is 0 where that is not known.
func (i *importing) reading(ctx context.Context) (in *input, size int64, err error) {
	if i.file == "-" {
		// A read of standard input cannot be interrupted, so it happens
		// elsewhere, and waiting for it can be.
		r, w := io.Pipe()
		go func() {
			_, err := io.Copy(w, i.In())
			w.CloseWithError(err)
		}()
		context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
		return &input{ReadCloser: r, ctx: ctx}, 0, nil
	}
	f, err := os.Open(i.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, daemon.Absent("%w", err)
	}
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

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/daemon"
)

// producedView is what was appended.
type producedView struct {
	Stream    string `json:"stream"`
	Fragments int    `json:"fragments"`
	Version   uint64 `json:"version"` // of the last
}

func (v producedView) Show(w io.Writer) {
	fmt.Fprintf(w, "%s has %d fragments more, up to version %d\n", v.Stream, v.Fragments, v.Version)
}

func newProduce(k *daemon.Kit, events *eventstore.Registry) *cobra.Command {
	fragments, batch, name, ago := 100, 100, "", time.Duration(0)
	cmd := &cobra.Command{
		Use:   "produce STREAM",
		Short: "Append fragments that are made up",
		Long: `Appends fragments to a stream, several in each append. Any number of producers can do that
at a time, and all readers see the same order.`,
		Example: "  deltas produce message-42\n  deltas produce exact-log --fragments 1000",
		Args:    daemon.Arguments("STREAM"),
		RunE: k.OnNew(func(ctx context.Context, at *daemon.Space, args []string) error {
			stream, err := eventstore.ParseStreamID(args[0])
			if err != nil {
				return err
			}
			if fragments < 1 || batch < 1 {
				return daemon.Usage("--fragments and --batch are 1 or more")
			}
			last, err := produce(ctx, at.Store, events, stream, name, fragments, batch, time.Now().Add(-ago))
			if err != nil {
				return err
			}
			return k.Print(producedView{stream.String(), fragments, uint64(last)})
		}),
	}
	cmd.Flags().IntVar(&fragments, "fragments", fragments, "`number` of fragments")
	cmd.Flags().IntVar(&batch, "batch", batch, "`number` of fragments in each append")
	cmd.Flags().StringVar(&name, "by", "deltas", "`name` of the producer, for the text of the fragments")
	cmd.Flags().DurationVar(&ago, "ago", 0, "how long ago that is to have been, as in history that is imported")
	return cmd
}

// produce appends fragments, a batch at a time. Those of a batch stand together, and there
// are all of them or none.
func produce(ctx context.Context, store eventstore.Store, events *eventstore.Registry, stream eventstore.StreamID, by string, fragments, batch int, when time.Time) (last eventstore.Version, err error) {
	for done := 0; done < fragments; {
		all := make([]eventstore.Event, min(batch, fragments-done))
		for i := range all {
			done++
			if all[i], err = events.Encode(Fragment{fmt.Sprintf("%s %d ", by, done)}); err != nil {
				return last, err
			}
			all[i].Time = when
		}
		appended, err := store.Append(ctx, stream, eventstore.Any, all...)
		if err != nil {
			return last, err
		}
		last = appended.Last
	}
	return last, nil
}

package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

// documentView is a document, or a row.
type documentView struct {
	Projection string            `json:"projection"`
	Generation int               `json:"generation"`
	ID         string            `json:"id"`
	Fields     map[string]string `json:"fields"`
	// Version is that of the last event in a document. Rows have none.
	Version uint64 `json:"version,omitempty"`
	EventID string `json:"event_id,omitempty"`
}

func (v documentView) show(p *page) {
	made := ""
	if v.Version > 0 {
		made = fmt.Sprintf(", made of %s", many(int(v.Version), "event"))
	}
	p.line("%s in generation %d of %s%s", v.ID, v.Generation, v.Projection, made)
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(v.Fields)) {
		rows = append(rows, []string{name, v.Fields[name]})
	}
	p.table([]string{"FIELD", "VALUE"}, rows)
	if rows == nil {
		p.line("it has no fields")
	}
}

// rowReader is a sink whose rows can be read one by one.
type rowReader interface {
	Row(ctx context.Context, g projector.Generation, key string) (map[string]string, error)
}

func newGet(p *program) *cobra.Command {
	number := 0
	cmd := &cobra.Command{
		Use:   "get PROJECTION ID",
		Short: "Print a document or a row of a read model",
		Long: `Prints a document, by the id of its stream, or a row that streams share, by its key, of
the generation that readers see. Where a projection has several categories the id of a
document is the whole name of the stream.`,
		Example: fmt.Sprintf("  %[1]s get cart_current 42\n  %[1]s get cart_current 42 -o json | jq .fields", p.app.name()),
		Args:    arguments("PROJECTION", "ID"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			v, err := s.document(ctx, args[0], args[1], number)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}

// document returns a document or a row of a generation.
func (s *space) document(ctx context.Context, name, id string, number int) (documentView, error) {
	v := documentView{Projection: name, ID: id}
	a, err := s.readable(ctx, name, number)
	if err != nil {
		return v, err
	}
	v.Generation = int(a.Generation)
	deleted := false
	switch sink := a.Sink.(type) {
	case projector.DocumentReader:
		documents, at, err := sink.Documents(ctx, a.Generation, []string{id})
		if err != nil {
			return v, err
		}
		v.Fields, v.Version, deleted = documents[0], at[0].Position.Major, documents[0] == nil && !at[0].IsZero()
		v.EventID = at[0].EventID.String()
	case rowReader:
		if v.Fields, err = sink.Row(ctx, a.Generation, id); err != nil {
			return v, err
		}
	default:
		return v, usage("%s keeps nothing that could be printed: %T reads neither documents nor rows", name, a.Sink)
	}
	switch {
	case deleted:
		return v, absent("the stream of %s was deleted at version %d, and its document with it", id, v.Version)
	case v.Fields == nil:
		return v, absent("there is no %s in generation %d of %s", id, a.Generation, name)
	}
	return v, nil
}

package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/adopt"
)

// adoptedView is a key that is adopted.
type adoptedView struct {
	Source   string `json:"source"`
	Key      string `json:"key"`
	Position string `json:"position"`
	// Behind is how many entries are not adopted yet, left out where that is not known.
	Behind *int64 `json:"behind,omitempty"`
	// Lost is how many were gone before that, left out where it is not known.
	Lost  *int64 `json:"lost,omitempty"`
	State string `json:"state"`
	// Entry is the one it is parked at.
	Entry  string      `json:"entry,omitempty"`
	Reason string      `json:"reason,omitempty"`
	Since  *time.Time  `json:"since,omitempty"`
	Fields []fieldView `json:"fields,omitempty"`
}

// fieldView is a field of an entry.
type fieldView struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// How a key stands.
const (
	adoptedReading = "reading"
	adoptedParked  = "parked"
	adoptedGone    = "gone"
)

type adoptedListView []adoptedView

func (v adoptedListView) show(p *page) {
	if len(v) == 0 {
		p.line("nothing is adopted")
		return
	}
	var rows [][]string
	for _, k := range v {
		rows = append(rows, []string{k.Source, k.Key, k.Position, orUnknown(k.Behind), orUnknown(k.Lost), k.State, orDash(k.Entry), orDash(clip(k.Reason, 100))})
	}
	p.table([]string{"SOURCE", "KEY", "POSITION", "BEHIND", "LOST", "STATE", "ENTRY", "REASON"}, rows)
}

// orUnknown writes a number that may not be known.
func orUnknown(n *int64) string {
	if n == nil {
		return "-"
	}
	return count(*n)
}

func newAdoptedLs(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [SOURCE]",
		Short: "List the keys that are adopted, and how far",
		Long: `Lists each key with the entry that is done with, how many entries are behind that, and how
many were trimmed or deleted before they were adopted. A dash is what the server does not
tell: one older than Redis 7 does not count what is added, and the Redis of a source that is
not the namespace's is known to the program that adopts it alone. Where it does not answer within
3 seconds the reason says so.

A key is reading; or parked, at an entry and for a reason; or gone, when there is none of
that name any more. What its producer keeps needs to be no more than what is behind the
position.`,
		Example: fmt.Sprintf("  %[1]s adopted ls\n  %[1]s adopted ls crm -o json | jq '.[] | select(.state == \"parked\")'", p.app.name()),
		Args:    arguments("[SOURCE]"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			v, err := s.adopted(ctx, args)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
}

// adopted lists the keys of a source, or of all.
func (s *space) adopted(ctx context.Context, source []string) (adoptedListView, error) {
	l, err := s.ledger()
	if err != nil {
		return nil, err
	}
	names, kept, err := s.knownSources(ctx, l, source)
	if err != nil {
		return nil, err
	}
	v := adoptedListView{}
	for _, name := range names {
		keys, err := l.Keys(ctx, name)
		if err != nil {
			return nil, err
		}
		client, err := s.whereIs(ctx, name, kept[name])
		if err != nil {
			return nil, err
		}
		stands, note := look(ctx, client, keys)
		for i, k := range keys {
			view := viewAdopted(k, stands[i])
			if view.Reason == "" {
				view.Reason = note
			}
			v = append(v, view)
		}
	}
	return v, nil
}

// tellWithin is how long a source may take to tell how its keys stand.
const tellWithin = 3 * time.Second

// look returns how keys stand. Where their Redis does not tell, that is unknown, and a note
// says why: other sources can be told of all the same.
func look(ctx context.Context, client redis.UniversalClient, keys []adopt.Key) (stands []adopt.Standing, note string) {
	if client != nil {
		ctx, cancel := context.WithTimeout(ctx, tellWithin)
		defer cancel()
		stands, err := adopt.Look(ctx, client, keys)
		if err == nil {
			return stands, ""
		}
		note = "the Redis of the source does not tell: " + err.Error()
	}
	stands = make([]adopt.Standing, len(keys))
	for i := range stands {
		stands[i].Behind = adopt.Unknown
	}
	return stands, note
}

func viewAdopted(k adopt.Key, stands adopt.Standing) adoptedView {
	v := adoptedView{Source: k.Source, Key: k.Name, Position: k.Position.ID.String(), State: adoptedReading}
	if stands.Behind != adopt.Unknown {
		v.Behind = &stands.Behind
	}
	if k.Position.Added != adopt.Unknown {
		v.Lost = &k.Position.Lost
	}
	switch {
	case k.Parked != nil:
		v.State, v.Entry, v.Reason, v.Since = adoptedParked, k.Parked.Entry.String(), k.Parked.Reason, &k.Parked.Since
		for _, f := range k.Parked.Fields {
			v.Fields = append(v.Fields, fieldView(f))
		}
	case stands.Gone:
		v.State = adoptedGone
	}
	return v
}

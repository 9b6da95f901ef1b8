package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

func newStatus(c *connection, s streams) *cobra.Command {
	st := &stating{streams: s, paces: make(map[string]*projector.Pace)}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print which generations there are, and how they stand",
		Long: `Prints the generations of every projection: the version of the code that makes it,
whether readers see it (active), it is built, being built, paused or failed, how many
events it is behind, and how many carts are parked in it. Nothing is behind where that
cannot be told: no worker has served that generation yet, or it is in a Postgres that
was not named.

With --watch it prints them again and again until Ctrl-C.`,
		Example: `  cart status
  cart status --watch
  cart status -o json | jq '.[] | select(.projection == "cart_current")'`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if st.output != "text" && st.output != "json" {
				return usageError{fmt.Errorf("-o is text or json, not %q", st.output)}
			}
			at, err := c.openBoth(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			st.at = at
			return st.run(cmd.Context())
		},
	}
	c.addPostgres(cmd)
	cmd.Flags().BoolVar(&st.watch, "watch", false, "go on until Ctrl-C")
	cmd.Flags().StringVarP(&st.output, "output", "o", "text", "`form` of what is printed: text or json")
	return cmd
}

// stating is one run of the status command.
type stating struct {
	streams
	at     *shopAt
	watch  bool
	output string
	paces  map[string]*projector.Pace // by generation, while watching
}

// projectionStatus is how a projection stands.
type projectionStatus struct {
	Projection  string             `json:"projection"`
	Active      int                `json:"active"`
	Generations []generationStatus `json:"generations"`
}

// generationStatus is how a generation stands.
type generationStatus struct {
	Generation int            `json:"generation"`
	Version    int            `json:"version"`
	Active     bool           `json:"active"`
	State      string         `json:"state"`
	Reason     string         `json:"reason,omitempty"`
	Building   *buildingState `json:"building,omitempty"` // until it is built
	Behind     *behindState   `json:"behind,omitempty"`   // once it is built and served
	Parked     int            `json:"parked"`
}

// buildingState is how far the building of a generation is.
type buildingState struct {
	Share           float64 `json:"share"`
	Events          uint64  `json:"events"`
	EventsDone      uint64  `json:"events_done"`
	Streams         uint64  `json:"streams"`
	StreamsDone     uint64  `json:"streams_done"`
	EventsPerSecond float64 `json:"events_per_second"`
	LeftSeconds     float64 `json:"left_seconds"`
	// Workers says which workers built in how many of the events.
	Workers map[string]uint64 `json:"workers,omitempty"`
	text    string
}

// behindState is how far a generation is behind.
type behindState struct {
	Events    int  `json:"events"`
	Estimated bool `json:"estimated"`
	text      string
}

const (
	statusEvery = time.Second
	// eraseScreen begins the screen anew.
	eraseScreen = "\x1b[H\x1b[J"
)

func (s *stating) run(ctx context.Context) error {
	last := ""
	for {
		all, err := s.look(ctx)
		if ctx.Err() != nil && s.watch {
			return nil
		}
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := s.print(&text, all); err != nil {
			return err
		}
		now := text.String()
		switch {
		case s.watch && newScreen(s.out).terminal:
			io.WriteString(s.out, eraseScreen+now)
		case now != last: // elsewhere only what is new
			io.WriteString(s.out, now)
		}
		if last = now; !s.watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusEvery):
		}
	}
}

// look looks how all projections stand, those included that this code does not know.
func (s *stating) look(ctx context.Context) ([]projectionStatus, error) {
	o, err := s.at.operator()
	if err != nil {
		return nil, err
	}
	there, err := o.Generations.All(ctx)
	if err != nil {
		return nil, err
	}
	models := make(map[string]model)
	for _, m := range s.at.models() {
		models[m.projection.Name()] = m
	}
	all := []projectionStatus{}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		status := projectionStatus{Projection: name, Active: int(there[name].Active)}
		for _, record := range there[name].Records {
			g, err := s.generation(ctx, o, record, models)
			if err != nil {
				return nil, err
			}
			g.Active = record.Generation == there[name].Active
			status.Generations = append(status.Generations, g)
		}
		all = append(all, status)
	}
	return all, nil
}

func (s *stating) generation(ctx context.Context, o projector.Operator, r generations.Record, models map[string]model) (generationStatus, error) {
	g := generationStatus{Generation: int(r.Generation), Version: r.Version, State: string(r.State), Reason: r.Reason}
	var err error
	if g.Parked, err = o.Log.Existing(fmt.Sprintf("%s@%d", r.Projection, r.Generation)).ParkedCount(ctx); err != nil {
		return g, err
	}
	if r.State == generations.Retiring {
		return g, nil
	}
	if r.State != generations.Built {
		p, err := o.Progress(ctx, r.Projection, r.Generation)
		group := fmt.Sprintf("%s@%d", r.Projection, r.Generation)
		if s.paces[group] == nil {
			s.paces[group] = new(projector.Pace)
		}
		p = s.paces[group].Of(p, time.Now())
		g.Building = &buildingState{
			Share: shareDone(p), Events: p.Events, EventsDone: p.EventsDone, Streams: p.Streams, StreamsDone: p.StreamsDone,
			EventsPerSecond: p.Rate, LeftSeconds: p.Left.Seconds(), Workers: p.Workers, text: howFar(p),
		}
		return g, err
	}
	m, ok := models[r.Projection]
	if !ok {
		return g, nil
	}
	sink, err := m.sink(s.at)
	if err != nil {
		return g, err
	}
	lag, err := projector.MeasureLag(ctx, o.Log, projector.Assignment{Projection: m.projection, Sink: sink, Generation: r.Generation})
	if errors.Is(err, lease.ErrNoGroup) {
		return g, nil // no worker has served it
	}
	g.Behind = &behindState{Events: lag.Events, Estimated: lag.Estimated, text: behindText(lag)}
	return g, err
}

func (s *stating) print(out io.Writer, all []projectionStatus) error {
	if s.output == "json" {
		encoder := json.NewEncoder(out)
		if !s.watch {
			encoder.SetIndent("", "  ")
		}
		return encoder.Encode(all)
	}
	if len(all) == 0 {
		fmt.Fprintf(out, "no projection has run in namespace %s yet: start cart run, or cart project\n", s.at.namespace)
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "projection\tgeneration\tversion\tstate\tbehind\tparked\n")
	var notes []string
	for _, p := range all {
		name := p.Projection
		for _, g := range p.Generations {
			fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s%s\n", name, g.Generation, g.Version, g.state(), g.behind(), count(g.Parked), g.bar())
			name = ""
			if by := g.builders(); by != "" {
				notes = append(notes, fmt.Sprintf("%s@%d is built by %s\n", p.Projection, g.Generation, by))
			}
			if g.Reason != "" {
				notes = append(notes, fmt.Sprintf("%s@%d %s: %s\n", p.Projection, g.Generation, g.State, g.Reason))
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range notes {
		io.WriteString(out, note)
	}
	return nil
}

func (g generationStatus) state() string {
	if g.Active {
		return "active"
	}
	return g.State
}

func (g generationStatus) behind() string {
	if g.Behind == nil {
		return "-"
	}
	return g.Behind.text
}

// builders says who built how many events of a generation that is not built.
func (g generationStatus) builders() string {
	if g.Building == nil {
		return ""
	}
	var all []string
	for _, worker := range slices.Sorted(maps.Keys(g.Building.Workers)) {
		all = append(all, fmt.Sprintf("%s (%s events)", worker, count(g.Building.Workers[worker])))
	}
	return strings.Join(all, ", ")
}

// bar shows how far a generation is that is not built.
func (g generationStatus) bar() string {
	if g.Building == nil {
		return ""
	}
	return "\t" + bar(g.Building.Share) + " " + g.Building.text
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// statusView is how a namespace stands.
type statusView struct {
	Namespace  string `json:"namespace"`
	Partitions int    `json:"partitions"`
	Workers    int    `json:"workers"`
	// LogEntries is how many entries the logs have, see command logs.
	LogEntries  int64            `json:"log_entries"`
	Generations []generationView `json:"generations"`
	// Unserved are groups with something outstanding that nobody has read of late.
	Unserved []unservedView `json:"unserved"`
	// AdoptedParked are the sources with keys that are parked, see command adopted ls.
	AdoptedParked []parkedKeysView `json:"adopted_parked"`
}

// generationView is how a generation of a projection stands.
type generationView struct {
	Projection string `json:"projection"`
	Generation int    `json:"generation"`
	Version    int    `json:"version"`
	// Active says that readers see it.
	Active bool   `json:"active"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Behind is how many events were not applied yet. It takes the code and the sink
	// of the projection, and is not there where one of those is missing.
	Behind    *int `json:"behind,omitempty"`
	Estimated bool `json:"estimated,omitempty"`
	// Trouble is why it is not there, where that is no matter of course.
	Trouble string `json:"trouble,omitempty"`
	// Pointers is how many entries of the logs are outstanding, and OldestSeconds how
	// old the oldest is; not there where nobody has served the generation yet.
	Pointers *int `json:"pointers,omitempty"`
	// Undelivered is how many of them no session was given yet, and Pending how many
	// sessions have and have not settled.
	Undelivered   *int          `json:"undelivered,omitempty"`
	Pending       *int          `json:"pending,omitempty"`
	OldestSeconds float64       `json:"oldest_seconds,omitempty"`
	Parked        int           `json:"parked"`
	Building      *buildingView `json:"building,omitempty"` // until it is built
}

// buildingView is how far the building of a generation is.
type buildingView struct {
	Share           float64           `json:"share"`
	Events          uint64            `json:"events"`
	EventsDone      uint64            `json:"events_done"`
	EventsPerSecond float64           `json:"events_per_second"`
	LeftSeconds     float64           `json:"left_seconds"`
	Workers         map[string]uint64 `json:"workers,omitempty"`
	text            string
}

// unservedView is a group that nobody serves.
type unservedView struct {
	Group    string `json:"group"`
	Pointers int64  `json:"pointers"`
	// AtLeast says that there may be more, which Redis does not know.
	AtLeast bool `json:"at_least,omitempty"`
}

// outstanding writes how many pointers are outstanding in it.
func (u unservedView) outstanding() string {
	if u.AtLeast {
		return count(u.Pointers) + " or more outstanding pointers"
	}
	return many(int(u.Pointers), "outstanding pointer")
}

const (
	statusEvery = time.Second
	// unservedAfter is how long nobody has read a group that is told of.
	unservedAfter = 15 * time.Second
	// eraseScreen begins the screen of a terminal anew.
	eraseScreen = "\x1b[H\x1b[J"
)

func newStatus(p *program) *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print how workers, projections and their generations stand",
		Long: `Prints the generations of every projection: the version of the code that makes it,
whether readers see it (active), it is built, being built, paused or failed, how many
events it is behind, how old the oldest of those is, and how many streams are parked.
How many events it is behind takes the code of the projection: elsewhere the number of
pointers in the logs says about as much. With -o json there are also the pointers that no
worker was given yet and those that are pending; logs and workers pending show them. A line
at the end tells of sources with parked keys.

With --watch it prints them again every second until Ctrl-C: on a terminal in place of
what was there, with the time, and as much as there is room for; elsewhere when something
has changed. It goes on while Redis is out of reach or does not answer, and says so.`,
		Example: fmt.Sprintf(`  %[1]s status
  %[1]s status --watch
  %[1]s status -o json | jq '.generations[] | select(.parked > 0)'`, p.app.name()),
		Args: arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			return (&stating{space: s, watch: watch, paces: make(map[string]*projector.Pace)}).run(ctx)
		}),
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "go on until Ctrl-C")
	return cmd
}

// stating is one run of the command.
type stating struct {
	*space
	watch bool
	paces map[string]*projector.Pace // by group
	last  string                     // what was printed
}

func (s *stating) run(ctx context.Context) error {
	if s.watch && s.form == formTable && isTerminal(s.out) {
		return s.draw(ctx)
	}
	trouble := new(outage)
	if s.watch {
		trouble = s.outage()
	}
	for {
		v, err := patiently(ctx, statusEvery, s.look, trouble.silent)
		switch {
		case ctx.Err() != nil && s.watch:
			return nil
		case s.watch && trouble.outlasts(err):
			// Whoever watches wants to see when it is back.
		case err != nil:
			return err
		default:
			trouble.over()
			if err := s.tell(v); err != nil || !s.watch {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusEvery):
		}
	}
}

// tell prints how everything stands, if it is something new.
func (s *stating) tell(v statusView) error {
	text, err := render(v, s.form, s.watch)
	if now := string(text); err == nil && now != s.last {
		s.last = now
		_, err = io.WriteString(s.out, now)
	}
	return err
}

// draw shows on a terminal how everything stands, in place of what was there, until ctx
// ends. It goes on while nothing answers, and says so.
func (s *stating) draw(ctx context.Context) error {
	f := statusFrame{view: statusView{Namespace: s.Namespace}}
	secrets := hiding(s.secrets()) // what is wrong is not written to the standard error here
	show := func(silent time.Duration) error {
		f.silent = silent
		width, height, _ := terminalSize(s.out)
		_, err := io.WriteString(s.out, eraseScreen+f.text(width, height, time.Now()))
		return err
	}
	for {
		v, err := patiently(ctx, statusEvery, s.look, func(took time.Duration) { _ = show(took) }) // the next one fails too
		switch {
		case ctx.Err() != nil:
			return nil
		case exitCode(err) == exitUnavailable:
			if f.trouble == "" {
				f.workers = max(f.workers, f.view.Workers)
			}
			f.trouble = secrets.Replace(err.Error())
		case err != nil:
			return err
		default:
			now := time.Now()
			if f.trouble != "" {
				f.back = now
			} else if now.Sub(f.back) >= unservedAfter {
				f.workers = 0
			}
			f.view, f.at, f.trouble = v, now, ""
		}
		if err := show(0); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusEvery):
		}
	}
}

// look looks how everything stands.
func (s *stating) look(ctx context.Context) (statusView, error) {
	v := statusView{Namespace: s.Namespace, Partitions: s.store.Partitions(), Generations: []generationView{}, Unserved: []unservedView{}, AdoptedParked: []parkedKeysView{}}
	live, err := s.Log.Live(ctx)
	if err != nil {
		return v, err
	}
	workers := make(map[string]bool)
	for _, session := range live {
		workers[session.Worker] = true
	}
	v.Workers = len(workers)
	lengths, err := s.Log.Lengths(ctx)
	if err != nil {
		return v, err
	}
	for _, length := range lengths {
		v.LogEntries += length.Entries
	}
	all, err := s.Generations.All(ctx)
	if err != nil {
		return v, err
	}
	beginning := make(map[string]bool) // groups whose workers may not have come to them yet
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, r := range all[name].Records {
			beginning[group(name, r.Generation)] = r.State == generations.Building || time.Since(r.Changed) < unservedAfter
			g, err := s.generation(ctx, r, r.Generation == all[name].Active)
			if err != nil {
				return v, err
			}
			v.Generations = append(v.Generations, g)
		}
	}
	unserved, err := s.Log.Unserved(ctx, unservedAfter)
	for _, u := range unserved {
		if !beginning[u.Group] {
			v.Unserved = append(v.Unserved, unservedView{u.Group, u.Pointers, u.AtLeast})
		}
	}
	if err != nil {
		return v, err
	}
	v.AdoptedParked, err = s.parkedKeys(ctx)
	return v, err
}

// generation looks how a generation stands.
func (s *stating) generation(ctx context.Context, r generations.Record, active bool) (generationView, error) {
	g := generationView{Projection: r.Projection, Generation: int(r.Generation), Version: r.Version, Active: active, State: string(r.State), Reason: r.Reason}
	name := group(r.Projection, r.Generation)
	var err error
	if g.Parked, err = s.Log.Existing(name).ParkedCount(ctx); err != nil || r.State == generations.Retiring {
		return g, err
	}
	if r.State != generations.Built {
		progress, err := s.Progress(ctx, r.Projection, r.Generation)
		if s.paces[name] == nil {
			s.paces[name] = new(projector.Pace)
		}
		g.Building = viewBuilding(s.paces[name].Of(progress, time.Now()))
		return g, err
	}
	lag, err := s.lag(ctx, r)
	if err != nil && exitCode(err) != exitFailed {
		// Without the code or the Postgres the logs still tell something.
		if exitCode(err) == exitUnavailable {
			g.Trouble = err.Error()
		}
		outstanding, err := s.Log.Existing(name).Lag(ctx)
		if errors.Is(err, lease.ErrNoGroup) {
			return g, nil // no worker has served it
		}
		pointers := outstanding.Undelivered + outstanding.Pending
		g.Pointers, g.Undelivered, g.Pending = &pointers, &outstanding.Undelivered, &outstanding.Pending
		g.OldestSeconds = outstanding.Oldest.Seconds()
		return g, err
	}
	if errors.Is(err, lease.ErrNoGroup) {
		return g, nil
	}
	g.Behind, g.Estimated, g.Pointers, g.Undelivered, g.Pending = &lag.Events, lag.Estimated, &lag.Pointers, &lag.Undelivered, &lag.Pending
	g.OldestSeconds = lag.Oldest.Seconds()
	return g, err
}

// lag returns how far a generation is behind, which takes its code and its sink.
func (s *space) lag(ctx context.Context, r generations.Record) (projector.Lag, error) {
	a, err := s.assignment(ctx, r.Projection)
	if err != nil {
		return projector.Lag{}, err
	}
	a.Generation = r.Generation
	return projector.MeasureLag(ctx, s.Log, a)
}

func viewBuilding(p projector.Progress) *buildingView {
	return &buildingView{
		Share: shareDone(p), Events: p.Events, EventsDone: p.EventsDone, EventsPerSecond: p.Rate,
		LeftSeconds: p.Left.Seconds(), Workers: p.Workers, text: howFar(p),
	}
}

// noneHasRun stands in place of a table without rows.
const noneHasRun = "no projection has run yet"

func (v statusView) show(p *page) {
	p.line("namespace %s, %s", v.Namespace, many(v.Workers, "worker"))
	if len(v.Generations) == 0 {
		p.line(noneHasRun)
	}
	p.table(generationHeadings, generationRows(v.Generations))
	for _, note := range v.notes() {
		p.line("%s", note.text)
	}
}

// notes tells what has no place in the table.
func (v statusView) notes() []ranked {
	var notes []ranked
	for _, g := range v.Generations {
		notes = append(notes, g.notes()...)
	}
	for _, u := range v.Unserved {
		text := fmt.Sprintf("nobody serves %s, which has %s: start its workers, or retire it", u.Group, u.outstanding())
		notes = append(notes, ranked{rank: rankWrong, text: text})
	}
	for _, k := range v.AdoptedParked {
		notes = append(notes, ranked{rank: rankWrong, text: k.String()})
	}
	return notes
}

var generationHeadings = []string{"PROJECTION", "GENERATION", "VERSION", "STATE", "BEHIND", "OLDEST", "PARKED"}

// generationRows returns the rows of generations, each projection named once.
func generationRows(all []generationView) [][]string {
	var rows [][]string
	last := ""
	for _, g := range all {
		row := g.row()
		if g.Projection == last {
			row[0] = ""
		}
		last = g.Projection
		rows = append(rows, row)
	}
	return rows
}

// row returns the cells below the headings.
func (g generationView) row() []string {
	state := g.State
	if g.Active && state == string(generations.Built) {
		state = "active"
	}
	return []string{g.Projection, fmt.Sprint(g.Generation), fmt.Sprint(g.Version), state, g.behind(), g.oldest(), count(g.Parked)}
}

// oldest is the age of what is behind. Where that is nothing, pointers that are not
// settled yet say nothing to people.
func (g generationView) oldest() string {
	if g.Behind != nil && *g.Behind == 0 {
		return "-"
	}
	return ago(time.Duration(g.OldestSeconds * float64(time.Second)))
}

func (g generationView) behind() string {
	switch {
	case g.Behind != nil && g.Estimated:
		return "about " + count(*g.Behind)
	case g.Behind != nil:
		return count(*g.Behind)
	case g.Pointers != nil:
		return many(*g.Pointers, "pointer")
	}
	return "-"
}

// notes tells of a generation what has no place in the table.
func (g generationView) notes() []ranked {
	var notes []ranked
	name := fmt.Sprintf("%s@%d", g.Projection, g.Generation)
	if g.Reason != "" {
		notes = append(notes, ranked{rank: rankWrong, text: name + " " + g.State + ": " + g.Reason})
	}
	if g.Trouble != "" {
		notes = append(notes, ranked{rank: rankWrong, text: name + ": how many events it is behind is not known: " + g.Trouble})
	}
	if g.Building == nil {
		return notes
	}
	notes = append(notes, ranked{rankBuilding, name + " " + bar(g.Building.Share) + " " + g.Building.text, name + ": " + g.Building.text})
	var by []string
	for _, worker := range slices.Sorted(maps.Keys(g.Building.Workers)) {
		by = append(by, fmt.Sprintf("%s (%s events)", worker, count(g.Building.Workers[worker])))
	}
	if by != nil {
		notes = append(notes, ranked{rank: rankWorkers, text: name + " is built by " + strings.Join(by, ", ")})
	}
	return notes
}

// many writes a number of things.
func many(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

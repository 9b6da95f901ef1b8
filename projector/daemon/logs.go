package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/lease"
)

// logsView is how long the logs are, and how far they have been read.
type logsView struct {
	Namespace  string `json:"namespace"`
	Partitions int    `json:"partitions"`
	// Entries is how many entries the logs have together.
	Entries int64       `json:"entries"`
	Groups  []groupView `json:"groups"`
	// Logs are those of the partitions, where they were asked for.
	Logs []logView `json:"logs,omitempty"`
}

// groupView is how far a group has read the logs, or one of them.
type groupView struct {
	Group string `json:"group"`
	// Missing is in how many partitions there is no such group.
	Missing int `json:"missing,omitempty"`
	// Delivered is the last entry that a session was given, of one log only.
	Delivered string `json:"delivered,omitempty"`
	// Undelivered is how many entries no session was given yet; at least as many, where
	// AtLeast.
	Undelivered int  `json:"undelivered"`
	AtLeast     bool `json:"at_least,omitempty"`
	// Pending is how many entries sessions have that they have not settled.
	Pending int `json:"pending"`
	// OldestSeconds is how old the oldest of both is.
	OldestSeconds float64 `json:"oldest_seconds"`
}

// logView is the log of a partition.
type logView struct {
	Partition int   `json:"partition"`
	Entries   int64 `json:"entries"`
	// First and Last are the ids of the oldest and the newest entry.
	First  string      `json:"first,omitempty"`
	Last   string      `json:"last,omitempty"`
	Groups []groupView `json:"groups"`
}

func (g groupView) cells() []string {
	undelivered := count(g.Undelivered)
	if g.AtLeast {
		undelivered += " or more"
	}
	return []string{undelivered, count(g.Pending), ago(seconds(g.OldestSeconds))}
}

func (v logsView) show(p *page) {
	p.line("namespace %s, entries in the logs of %s: %s", v.Namespace, many(v.Partitions, "partition"), count(v.Entries))
	if len(v.Groups) == 0 {
		p.line("nobody has read them yet")
	}
	var rows [][]string
	for _, g := range v.Groups {
		rows = append(rows, append([]string{g.Group}, g.cells()...))
	}
	p.table([]string{"GROUP", "UNDELIVERED", "PENDING", "OLDEST"}, rows)
	for _, g := range v.Groups {
		if g.Missing > 0 {
			p.line("%s is not there in %d of %s: its workers make it when they begin, and doctor tells what to do where it was lost", g.Group, g.Missing, many(v.Partitions, "partition"))
		}
	}
	if len(v.Logs) == 0 {
		return
	}
	p.line("")
	rows = nil
	for _, l := range v.Logs {
		row := []string{fmt.Sprint(l.Partition), count(l.Entries), orDash(l.First), orDash(l.Last)}
		if len(l.Groups) == 0 {
			rows = append(rows, append(row, "-", "-", "-", "-", "-"))
		}
		for _, g := range l.Groups {
			rows = append(rows, append(append(row, g.Group, g.Delivered), g.cells()...))
			row = []string{"", "", "", ""}
		}
	}
	p.table([]string{"PARTITION", "ENTRIES", "FIRST", "LAST", "GROUP", "DELIVERED", "UNDELIVERED", "PENDING", "OLDEST"}, rows)
}

func newLogs(p *program) *cobra.Command {
	each := false
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Print how long the logs of pointers are, and how far each group has read them",
		Long: `Every append leaves an entry in the log of its partition, by which workers find what has
grown. Prints how many entries there are, and of each group (a generation of a
projection) how many of them no worker was given yet, how many are pending with workers,
and how old the oldest of both is. Entries that all groups are done with are trimmed now
and then, so that a log which grows is one that some group does not get on with.

What is undelivered waits for workers: start more of them. What is pending is with one:
workers pending lists it. These are entries, and a stream may have several: status tells
how many events a generation is behind.`,
		Example: fmt.Sprintf("  %[1]s logs\n  %[1]s logs --each", p.app.name()),
		Args:    arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			v, err := s.logs(ctx, each)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
	cmd.Flags().BoolVar(&each, "each", false, "list the log of each partition too, with its first and last entry")
	return cmd
}

// logs looks how long the logs are, and where each is asked for, at every one.
func (s *space) logs(ctx context.Context, each bool) (logsView, error) {
	v := logsView{Namespace: s.Namespace, Partitions: s.store.Partitions(), Groups: []groupView{}}
	lengths, err := s.Log.Lengths(ctx)
	if err != nil {
		return v, err
	}
	for p, length := range lengths {
		v.Entries += length.Entries
		if each {
			v.Logs = append(v.Logs, logView{Partition: p, Entries: length.Entries, First: length.First, Last: length.Last, Groups: []groupView{}})
		}
	}
	standings, err := s.Log.Standings(ctx)
	if err != nil {
		return v, err
	}
	for _, in := range standings {
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Group != in.Group {
			v.Groups = append(v.Groups, groupView{Group: in.Group, Missing: v.Partitions})
		}
		g := &v.Groups[len(v.Groups)-1]
		g.Missing--
		g.add(in.Lag)
		if each {
			at := groupView{Group: in.Group, Delivered: in.Delivered}
			at.add(in.Lag)
			v.Logs[in.Partition].Groups = append(v.Logs[in.Partition].Groups, at)
		}
	}
	return v, nil
}

func (g *groupView) add(l lease.Lag) {
	g.Undelivered += l.Undelivered
	g.AtLeast = g.AtLeast || l.AtLeast
	g.Pending += l.Pending
	g.OldestSeconds = max(g.OldestSeconds, l.Oldest.Seconds())
}

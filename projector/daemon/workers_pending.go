package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/lease"
)

// pendingListView is what workers were given and have not settled.
type pendingListView struct {
	// Consumers are the sessions that have read groups, and those that are dead and still
	// have something.
	Consumers []consumerView `json:"consumers"`
	// Pending are the oldest of the pointers that they have.
	Pending []pendingView `json:"pending"`
	// Total is how many there are, where not all are listed.
	Total int64 `json:"total"`

	of string
}

// consumerView is what a session has of a group.
type consumerView struct {
	// Group is the generation, carts@1.
	Group   string `json:"group"`
	Worker  string `json:"worker"`
	Session string `json:"session"`
	// State is live or draining; dead, where others are to take it over; left, where the
	// session gave it back before its end.
	State   string `json:"state"`
	Pending int64  `json:"pending"`
	// IdleSeconds is how long ago it asked for more; not there where the server does not
	// say.
	IdleSeconds *float64 `json:"idle_seconds,omitempty"`
}

// pendingView is a pointer that a session has.
type pendingView struct {
	Group string `json:"group"`
	// Stream is not there where the entry was deleted from the log, or is no pointer.
	Stream string `json:"stream,omitempty"`
	// Version is the head of the stream when the pointer was written.
	Version uint64 `json:"version,omitempty"`
	Worker  string `json:"worker"`
	Session string `json:"session"`
	State   string `json:"state"`
	// AgeSeconds is how old it is, and IdleSeconds how long ago the session was given it.
	AgeSeconds  float64 `json:"age_seconds"`
	IdleSeconds float64 `json:"idle_seconds"`
	// Deliveries is how often a session was given it.
	Deliveries int64  `json:"deliveries"`
	Partition  int    `json:"partition"`
	Entry      string `json:"entry"`
}

func (v pendingListView) show(p *page) {
	var rows [][]string
	for _, c := range v.Consumers {
		rows = append(rows, []string{c.Group, c.Worker, c.State, count(c.Pending), idle(c.IdleSeconds), c.Session})
	}
	p.table([]string{"GROUP", "WORKER", "STATE", "PENDING", "IDLE", "SESSION"}, rows)
	if rows != nil {
		p.line("")
	}
	if v.Total == 0 {
		p.line("nothing is pending%s", v.of)
		return
	}
	rows = nil
	for _, d := range v.Pending {
		version := "-"
		if d.Version > 0 {
			version = count(d.Version)
		}
		rows = append(rows, []string{d.Group, orDash(d.Stream), version, d.Worker, d.State, ago(seconds(d.AgeSeconds)), ago(seconds(d.IdleSeconds)), count(d.Deliveries)})
	}
	p.table([]string{"GROUP", "STREAM", "VERSION", "WORKER", "STATE", "AGE", "GIVEN", "DELIVERIES"}, rows)
	if more := v.Total - int64(len(v.Pending)); more > 0 {
		p.line("and %s more: --limit 0 lists all", count(more))
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// idle writes how long ago something was; nil is unknown.
func idle(s *float64) string {
	switch {
	case s == nil:
		return "-"
	case *s == 0:
		return "0s"
	}
	return ago(seconds(*s))
}

// viewIdle returns how many seconds a time is, nil for a negative one, which is unknown.
func viewIdle(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

func newWorkersPending(p *program) *cobra.Command {
	limit, worker := 0, ""
	cmd := &cobra.Command{
		Use:   "pending [PROJECTION]",
		Short: "List what workers are at, the oldest first",
		Long: `Lists how many pointers each session has that it was given and has not settled, by
group (a generation of a projection), and then the pointers, the oldest first: which
stream at which version, with which worker, how old it is, how long ago that worker was
given it, and how often it was delivered. More than once means that it was taken over
from a session that ended or died, or read again after an error.

A worker that keeps up has next to nothing here, and nothing old. What stays is under
way, or waits for another attempt, with a session that is live; one that is dead or has
left holds it until another worker that serves the group takes it over. IDLE is how long
ago a session asked for more (before Redis 7.2, how long ago it was given something), and
- where the server does not say. A stream that is parked is not pending: parked ls.`,
		Example: fmt.Sprintf(`  %[1]s workers pending
  %[1]s workers pending carts --worker blue
  %[1]s workers pending --limit 0 -o json | jq '.pending[] | select(.deliveries > 1)'`, p.app.name()),
		Args: arguments("[PROJECTION]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usage("--limit is 1 or more, or 0 for all, not %d", limit)
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				projection := ""
				if len(args) > 0 {
					projection = args[0]
				}
				v, err := s.pending(ctx, projection, worker, limit)
				if err != nil {
					return err
				}
				return p.print(v)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&worker, "worker", "", "only what this `worker` has, under all its sessions")
	cmd.Flags().IntVar(&limit, "limit", 100, "`number` of pointers to list; 0 for all")
	_ = cmd.RegisterFlagCompletionFunc("worker", func(cmd *cobra.Command, args []string, begins string) ([]string, cobra.ShellCompDirective) {
		return p.asked(cmd, "WORKER", args, begins), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// pending lists what is pending in the groups of a projection, or of all, for a worker, or
// for all: so many pointers at the most, all where limit is 0.
func (s *space) pending(ctx context.Context, projection, worker string, limit int) (pendingListView, error) {
	v := pendingListView{Consumers: []consumerView{}, Pending: []pendingView{}}
	if projection != "" {
		if _, err := s.generationsOf(ctx, projection); err != nil {
			return v, err
		}
		v.of = " in " + projection
	}
	if worker != "" {
		v.of += " for worker " + worker
	}
	consumers, err := s.Log.Consumers(ctx)
	if err != nil {
		return v, err
	}
	var groups []string // that have something
	having := make(map[string][]lease.Consumer)
	for _, c := range consumers {
		if projection != "" && !strings.HasPrefix(c.Group, projection+"@") || worker != "" && c.Worker != worker {
			continue
		}
		v.Consumers = append(v.Consumers, consumerView{Group: c.Group, Worker: c.Worker, Session: c.Session, State: string(c.State), Pending: c.Pending, IdleSeconds: viewIdle(c.Idle)})
		v.Total += c.Pending
		if c.Pending == 0 {
			continue
		}
		if len(having[c.Group]) == 0 {
			groups = append(groups, c.Group)
		}
		having[c.Group] = append(having[c.Group], c)
	}
	kept := least[lease.Delivery]{limit: limit, compare: lease.Delivery.Compare}
	for _, name := range groups {
		of := having[name]
		if worker == "" {
			of = nil // whoever has it
		}
		for d, err := range s.Log.Existing(name).Deliveries(ctx, limit, of...) {
			if err != nil {
				return v, err
			}
			kept.add(d)
		}
	}
	listed, _ := kept.sorted()
	if err := s.Log.Name(ctx, listed); err != nil {
		return v, err
	}
	for _, d := range listed {
		v.Pending = append(v.Pending, pendingView{
			Group: d.Group, Stream: d.Stream, Version: d.Head, Worker: lease.WorkerOf(d.Session), Session: d.Session, State: string(d.State),
			AgeSeconds: d.Age.Seconds(), IdleSeconds: d.Idle.Seconds(), Deliveries: d.Times, Partition: d.Partition, Entry: d.ID,
		})
	}
	v.Total = max(v.Total, int64(len(listed))) // more may have come meanwhile
	return v, nil
}

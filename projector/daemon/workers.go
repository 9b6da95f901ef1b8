package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/lease"
)

func newWorkers(p *program) *cobra.Command {
	return holder("workers", "List workers and what they are at, and have them end", "", newWorkersLs(p), newWorkersPending(p), newWorkersDrain(p))
}

// workerView is a session of a worker.
type workerView struct {
	Worker  string `json:"worker"`
	Session string `json:"session"`
	// State is live, or draining where it was asked to end.
	State string `json:"state"`
	// Serves are the generations it has read pointers for.
	Serves     []string `json:"serves"`
	Partitions int      `json:"partitions"`
	// Pending is how many pointers it was given and has not settled.
	Pending int64 `json:"pending"`
	// IdleSeconds is how long ago it asked for more; not there where it never did, or the
	// server does not say.
	IdleSeconds *float64 `json:"idle_seconds,omitempty"`
	// LeftSeconds is how long it lives unless it sends a heartbeat.
	LeftSeconds float64 `json:"left_seconds"`
}

type workersView []workerView

func (v workersView) show(p *page) {
	if len(v) == 0 {
		p.line("no worker runs")
	}
	var rows [][]string
	for _, w := range v {
		rows = append(rows, []string{w.Worker, w.State, orDash(strings.Join(w.Serves, ",")), fmt.Sprint(w.Partitions), count(w.Pending), idle(w.IdleSeconds), ago(time.Duration(w.LeftSeconds * float64(time.Second)))})
	}
	p.table([]string{"WORKER", "STATE", "SERVES", "PARTITIONS", "PENDING", "IDLE", "DIES IN"}, rows)
}

// The states of a session.
const (
	stateLive     = "live"
	stateDraining = "draining"
	stateEnded    = "ended"
)

func sessionState(l lease.LiveSession) string {
	if l.Draining {
		return stateDraining
	}
	return stateLive
}

func newWorkersLs(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the workers that live",
		Long: `Lists the workers whose session lives: what they serve, how many pointers they were
given and have not settled, how long ago they asked for more (before Redis 7.2, how long
ago they were given some), and when they are taken for dead unless they send a heartbeat.
workers pending lists the pointers, and what is left of workers that are dead. Before
Redis 7.2 SERVES has only what a worker was given something of, and one that was given
nothing yet serves nothing there.
One that drains was asked to end by workers drain; one that was told by a signal lives until
it has ended. A worker that has nothing to serve has no session.`,
		Example: "  " + p.app.name() + " workers ls",
		Args:    arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			v, err := s.workers(ctx)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
}

// workers lists the workers that live.
func (s *space) workers(ctx context.Context) (workersView, error) {
	live, err := s.Log.Live(ctx)
	v := workersView{}
	for _, l := range live {
		w := workerView{Worker: l.Worker, Session: l.Name, State: sessionState(l), Serves: l.Groups, Partitions: len(l.Partitions), Pending: l.Pending, IdleSeconds: viewIdle(l.Idle), LeftSeconds: l.Left.Seconds()}
		if w.Serves == nil {
			w.Serves = []string{}
		}
		v = append(v, w)
	}
	return v, err
}

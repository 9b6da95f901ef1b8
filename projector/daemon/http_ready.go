package daemon

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/projector"
)

// readyView says whether a daemon works, and why not.
type readyView struct {
	Ready   bool         `json:"ready"`
	Reasons []reasonView `json:"reasons"`
}

// reasonView is a reason why it does not.
type reasonView struct {
	// Reason is one of the words below.
	Reason string `json:"reason"`
	// Projection is one that the worker does not work on, Generation which of it.
	Projection string `json:"projection,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Message    string `json:"message"`
}

const (
	reasonConnecting = "connecting" // the namespace is not open yet
	reasonStarting   = "starting"   // the worker has not begun
	reasonRedis      = "redis"      // it is out of reach
	reasonPaused     = "paused"     // a projection rests, because a backend is in trouble
	reasonDraining   = "draining"   // the daemon was told to stop
)

const (
	// pingEvery is how long it is believed what a Redis answered, pingWithin how long
	// it may take: less than probes wait.
	pingEvery  = time.Second
	pingWithin = 500 * time.Millisecond
)

// readiness is what /readyz tells.
type readiness struct {
	mu     sync.Mutex // guards all but asked and err
	why    string     // it is not ready, whatever else
	client redis.UniversalClient
	worker *projector.Worker

	asking sync.Mutex // guards the rest, and has one ask for all
	asked  time.Time
	err    error
}

func (d *readiness) connected(client redis.UniversalClient) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = client
}

func (d *readiness) worksWith(w *projector.Worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.worker = w
}

func (d *readiness) never(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = why
}

// look says how it is. It takes no longer than a ping may.
func (d *readiness) look(ctx context.Context) readyView {
	d.mu.Lock()
	why, client, worker := d.why, d.client, d.worker
	d.mu.Unlock()
	v := readyView{Reasons: []reasonView{}}
	switch {
	case why != "":
		v.Reasons = append(v.Reasons, reasonView{Reason: why, Message: "the daemon was told to stop, and gives back what it holds"})
	case client == nil:
		v.Reasons = append(v.Reasons, reasonView{Reason: reasonConnecting, Message: "the namespace is not open yet"})
	default:
		if err := d.ping(ctx, client); err != nil {
			v.Reasons = append(v.Reasons, reasonView{Reason: reasonRedis, Message: fmt.Sprintf("Redis does not answer: %v", err)})
		}
		v.Reasons = append(v.Reasons, resting(worker)...)
	}
	v.Ready = len(v.Reasons) == 0
	return v
}

// resting returns which projections a worker does not work on though it should.
func resting(w *projector.Worker) []reasonView {
	if w == nil {
		return []reasonView{{Reason: reasonStarting, Message: "there is no worker yet"}}
	}
	var all []reasonView
	for _, s := range w.Status() {
		r := reasonView{Projection: s.Projection.Name(), Generation: int(s.Generation)}
		switch s.State {
		case projector.StatePaused:
			r.Reason, r.Message = reasonPaused, fmt.Sprintf("it rests since %s: %v", s.Since.UTC().Format(time.RFC3339), s.Reason)
		case projector.StateStopped:
			r.Reason, r.Message = reasonStarting, "the worker has not begun with it"
		default:
			continue // idle too: there is nothing to do for this code
		}
		all = append(all, r)
	}
	return all
}

// ping asks the Redis whether it is there, unless that was asked a moment ago.
func (d *readiness) ping(ctx context.Context, client redis.UniversalClient) error {
	d.asking.Lock()
	defer d.asking.Unlock()
	if time.Since(d.asked) < pingEvery {
		return d.err
	}
	// The answer is for others too, who have not gone away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingWithin)
	defer cancel()
	d.err = client.Ping(ctx).Err()
	d.asked = time.Now()
	return d.err
}

func (v *server) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]bool{"alive": true})
}

func (v *server) readyz(w http.ResponseWriter, r *http.Request) {
	how := v.ready.look(r.Context())
	for i := range how.Reasons {
		how.Reasons[i].Message = v.hide.Replace(how.Reasons[i].Message)
	}
	status := http.StatusOK
	if !how.Ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, how)
}

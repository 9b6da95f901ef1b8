package balancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
)

const (
	// maxLanes is how many lanes there are at most: each has a session, and keeps a place.
	maxLanes = 8
	// maxWeight keeps shares comparable.
	maxWeight = 1000
)

// Lane is a part of the streams that has a priority of its own.
type Lane struct {
	// Name is [a-z][a-z0-9]*.
	Name string
	// Weight is how much of a worker's capacity the lane gets while others have streams
	// waiting too, in relation to theirs: 1 to 1,000. No lane that has some gets less than
	// one place, so the weights count in full where the Capacity is at least their sum divided
	// by the smallest: 10 for 6, 3 and 1. With 4 places those lanes have 2, 1 and 1.
	Weight int
}

// Lanes are balancers that share the capacity of their workers, so that urgent streams do
// not wait behind others, and the others do not wait for ever. A stream belongs to its lane:
// each lane is a balancer of its own, whose namespace is that of the configuration, an
// underscore and the lane's name. A name that is announced in two lanes is two streams, which
// two workers can have at a time.
//
// A place of a worker that gets free goes to the lane that has streams waiting and the least
// of its share, which is its Weight beside those of the others; where two have as much of
// it, to the one named first. So a lane that alone has streams waiting gets nearly
// everything: in each other lane one place is left to wait for streams, which no other lane
// takes while the lane has nothing. With it, what is announced there is assigned at once,
// however busy the worker is, and in whichever partition: all are listened to. What several
// partitions bring for one place goes back, to any worker with room, and is TakenOver then, or
// offered by [Expired] where the worker wants that. Nothing is taken from a handler: a lane comes to its share as
// streams are finished.
//
// Lanes are safe for concurrent use and need no closing.
type Lanes struct {
	lanes     []Lane
	balancers []*Balancer
}

var laneName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// OpenLanes opens the balancer of each lane as [Open] does, and refuses what that refuses.
// There are 2 to 8 lanes, in the order of their priority. All programs name the same ones:
// what is announced in a lane in which nobody joins waits. A namespace has up to 48 bytes
// together with the underscore and the name of a lane. Nothing is written where one is too long.
func OpenLanes(ctx context.Context, client redis.UniversalClient, config Config, lanes ...Lane) (*Lanes, error) {
	config.Namespace = cmp.Or(config.Namespace, DefaultNamespace)
	if len(lanes) < 2 || len(lanes) > maxLanes {
		return nil, fmt.Errorf("opening lanes of balancer %q: there are %d; there can be 2 to %d", config.Namespace, len(lanes), maxLanes)
	}
	l := &Lanes{lanes: slices.Clone(lanes)}
	for i, lane := range lanes {
		switch {
		case !laneName.MatchString(lane.Name):
			return nil, fmt.Errorf("opening lanes of balancer %q: the name of a lane is %q; it has to be like [a-z][a-z0-9]*", config.Namespace, lane.Name)
		case slices.ContainsFunc(lanes[:i], func(o Lane) bool { return o.Name == lane.Name }):
			return nil, fmt.Errorf("opening lanes of balancer %q: lane %q is there twice", config.Namespace, lane.Name)
		case lane.Weight < 1 || lane.Weight > maxWeight:
			return nil, fmt.Errorf("opening lanes of balancer %q: the Weight of lane %q is %d; it is 1 to %d", config.Namespace, lane.Name, lane.Weight, maxWeight)
		}
		if err := keyspace.CheckNamespace(config.Namespace + "_" + lane.Name); err != nil {
			return nil, fmt.Errorf("opening lanes of balancer %q: lane %q: %w", config.Namespace, lane.Name, err)
		}
	}
	for _, lane := range lanes {
		of := config
		of.Namespace += "_" + lane.Name
		b, err := Open(ctx, client, of)
		if err != nil {
			return nil, err
		}
		l.balancers = append(l.balancers, b)
	}
	return l, nil
}

// Lane returns the balancer of a lane, nil where there is no such lane.
func (l *Lanes) Lane(name string) *Balancer {
	i := slices.IndexFunc(l.lanes, func(lane Lane) bool { return lane.Name == name })
	if i < 0 {
		return nil
	}
	return l.balancers[i]
}

// Announce hands streams out in a lane, as [Balancer.Announce] does.
func (l *Lanes) Announce(ctx context.Context, lane string, announcements ...Announcement) error {
	b := l.Lane(lane)
	if b == nil {
		return fmt.Errorf("balancer: announcing: there is no lane %q", lane)
	}
	return b.Announce(ctx, announcements...)
}

// Streams returns the streams of all lanes, one lane after another, with their lanes, as
// [Balancer.Streams] does.
func (l *Lanes) Streams(ctx context.Context) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		for i, b := range l.balancers {
			for s, err := range b.Streams(ctx) {
				s.Lane = l.lanes[i].Name
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	}
}

// Join makes a worker of all lanes, as [Balancer.Join] does. The Capacity is what it has in
// all lanes together, and at least as many as there are lanes; several times that keeps what
// is idle small. The Metrics are told of all lanes, and how many streams there are in all.
func (l *Lanes) Join(ctx context.Context, config WorkerConfig) (*LaneWorker, error) {
	if c := config.withDefaults().Capacity; c > 0 && c < len(l.lanes) {
		return nil, fmt.Errorf("balancer: joining: config: Capacity is %d, and there are %d lanes: a place is kept for each, so make it %d or more", c, len(l.lanes), len(l.lanes))
	}
	s, err := join(ctx, config, l.balancers, l.lanes)
	if err != nil {
		return nil, fmt.Errorf("balancer: joining: %w", err)
	}
	return &LaneWorker{s.workers}, nil
}

// LaneWorker is given streams of all lanes. In each lane it is a [Worker] of its own, with a
// session of its own; they have one name, one channel and one capacity, and end together.
// Its methods are safe for concurrent use.
type LaneWorker struct{ workers []*Worker }

// Lane returns the worker in a lane, nil where there is no such lane. It is asked for what
// concerns the lane alone: [Worker.Claim] and [Worker.Err]. Assignments say their lane, and
// its channel, and closing and draining it, are those of all lanes.
func (w *LaneWorker) Lane(name string) *Worker {
	i := slices.IndexFunc(w.workers, func(o *Worker) bool { return o.lane.Name == name })
	if i < 0 {
		return nil
	}
	return w.workers[i]
}

// ID returns the worker's name, the same in all lanes.
func (w *LaneWorker) ID() string { return w.workers[0].ID() }

// Notifications returns the channel that tells the worker what it has in all lanes, as
// [Worker.Notifications] does. Assignment.Lane is the lane.
func (w *LaneWorker) Notifications() <-chan Notification { return w.workers[0].Notifications() }

// Held returns what the worker has, one lane after another.
func (w *LaneWorker) Held() []Assignment {
	s := w.workers[0].share
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Assignment
	for _, o := range s.workers {
		all = append(all, o.holds()...)
	}
	return all
}

// Holds reports whether an assignment is in force, as [Worker.Holds] does.
func (w *LaneWorker) Holds(a Assignment) bool { return w.workers[0].Holds(a) }

// Context returns a context that ends when an assignment ends, as [Worker.Context] does.
func (w *LaneWorker) Context(a Assignment) context.Context { return w.workers[0].Context(a) }

// Progress says that the work on a stream gets on, as [Worker.Progress] does.
func (w *LaneWorker) Progress(a Assignment) error { return w.workers[0].Progress(a) }

// Finish ends the work on streams of any lanes for good, as [Worker.Finish] does.
func (w *LaneWorker) Finish(ctx context.Context, assignments ...Assignment) error {
	return w.workers[0].Finish(ctx, assignments...)
}

// HandBack gives streams of any lanes to other workers, as [Worker.HandBack] does.
func (w *LaneWorker) HandBack(ctx context.Context, assignments ...Assignment) error {
	return w.workers[0].HandBack(ctx, assignments...)
}

// Err returns nil while the worker can be given streams of all lanes, else why not, as
// [Worker.Err] does.
func (w *LaneWorker) Err() error {
	var errs []error
	for _, o := range w.workers {
		if err := o.Err(); err != nil {
			errs = append(errs, fmt.Errorf("lane %s: %w", o.lane.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Close gives back everything that the worker has in all lanes, and ends it, as
// [Worker.Close] does.
func (w *LaneWorker) Close(ctx context.Context) error { return w.workers[0].Close(ctx) }

// Drain lets the worker be given no more streams, waits until those that it has in all lanes
// are finished or handed back, and closes it, as [Worker.Drain] does.
func (w *LaneWorker) Drain(ctx context.Context) error { return w.workers[0].Drain(ctx) }

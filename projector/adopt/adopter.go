package adopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/lease"
)

// Config configures an [Adopter].
type Config struct {
	// Store is where the events go.
	Store eventstore.Store
	// Client is the Redis of the namespace, which keeps the positions. Both belong to
	// the caller.
	Client redis.UniversalClient
	// Namespace defaults to "projectord".
	Namespace string
	Source    Source
	// TTL is after how long another process takes over from one that died. At least
	// 100 ms; defaults to [lease.DefaultTTL].
	TTL time.Duration
	// Deadline is how long decoding an entry may take, up to twice that where others before
	// it took time. At least 1 ms; defaults to [DefaultDeadline].
	Deadline time.Duration
	// Logger defaults to [slog.Default].
	Logger *slog.Logger
}

// Adopter adopts a source. Any number of processes may have one of the same source: one at
// a time is at work, and another takes its place when that ends or dies. It is safe for
// concurrent use.
type Adopter struct {
	config Config
	ledger *Ledger
	counts struct{ entries, events, lost, parked, behind atomic.Int64 }
	// tried says that keys that were parked before this process began were tried again.
	tried atomic.Bool
	// up says that it is at work, and reads its source.
	up     atomic.Bool
	remind reminder
}

// Stats are what an adopter has done since it was made, and how its source stands.
type Stats struct {
	// Entries is how many entries were done with, Events how many events that were
	// made of them were appended or found to be there, Lost how many entries were found to
	// be gone before they were adopted.
	Entries, Events, Lost int64
	// Parked is how many keys are parked, and Behind about how many entries the others have
	// that are not adopted yet. Both are 0 in a process that is not at work.
	Parked, Behind int64
	// Up says that this process is at work, and could read the source the last time.
	Up bool
}

// DefaultDeadline is how long decoding an entry may take.
const DefaultDeadline = 30 * time.Second

const (
	// releaseWithin is how long giving back the role may take.
	releaseWithin = time.Second
	// remindEvery is how often it is told that something goes on being wrong.
	remindEvery = time.Minute
)

// New returns an adopter of a source. It connects to nothing; errors are mistakes in the
// configuration.
func New(config Config) (*Adopter, error) {
	config.Namespace = cmp.Or(config.Namespace, keyspace.DefaultNamespace)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.TTL = cmp.Or(config.TTL, lease.DefaultTTL)
	config.Deadline = cmp.Or(config.Deadline, DefaultDeadline)
	config.Source.Discover = cmp.Or(config.Source.Discover, DefaultDiscover)
	ledger, err := NewLedger(config.Client, config.Namespace)
	if err == nil {
		err = config.Source.check()
	}
	if err == nil && config.Deadline < time.Millisecond {
		err = fmt.Errorf("the deadline is %s; at least 1 ms is needed", config.Deadline)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	for _, name := range config.Source.Keys {
		if config.Source.Client == nil && own(config.Namespace, name) {
			return nil, fmt.Errorf("adopt: source %s: key %s is of namespace %s itself", config.Source.Name, name, config.Namespace)
		}
	}
	config.Logger = config.Logger.With("source", config.Source.Name)
	return &Adopter{config: config, ledger: ledger}, nil
}

// Source returns the name of the source.
func (a *Adopter) Source() string { return a.config.Source.Name }

// Stats returns what was done.
func (a *Adopter) Stats() Stats {
	return Stats{
		Entries: a.counts.entries.Load(), Events: a.counts.events.Load(), Lost: a.counts.lost.Load(),
		Parked: a.counts.parked.Load(), Behind: a.counts.behind.Load(), Up: a.up.Load(),
	}
}

// Run adopts the source while this process has the role "adopt:" and its name; while
// another one has it, it asks again. It blocks until ctx ends, whatever fails meanwhile, and
// ends with what is under way appended or not, which the next one finds out.
func (a *Adopter) Run(ctx context.Context) {
	for ctx.Err() == nil {
		role, err := lease.AcquireRole(ctx, a.config.Client, lease.RoleConfig{Namespace: a.config.Namespace, Role: "adopt:" + a.config.Source.Name, TTL: a.config.TTL})
		if err == nil {
			err = a.holding(ctx, role)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, lease.ErrRoleTaken) && !errors.Is(err, errWentBack) && a.remind.due(time.Now()) {
			a.config.Logger.Warn("the source is not adopted for a moment", "reason", err)
		}
		pause(ctx, min(a.config.TTL, time.Second))
	}
}

// holding adopts while the role lasts, and gives it back.
func (a *Adopter) holding(ctx context.Context, role *lease.Role) error {
	held, stop := context.WithCancel(ctx)
	kept := make(chan error, 1)
	go func() {
		defer stop()
		kept <- role.Run(held)
	}()
	err := a.work(held)
	stop()
	if lost := <-kept; lost != nil {
		return lost
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	return errors.Join(err, role.Release(leaving))
}

// work adopts until ctx ends or something fails. Correctness does not rest on the role: it
// may be done by several at once.
func (a *Adopter) work(ctx context.Context) error {
	t, err := a.newTurn(ctx)
	if err != nil {
		return err
	}
	defer func() { a.counts.parked.Store(0); a.counts.behind.Store(0); a.up.Store(false) }()
	finding, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); t.discover(finding) }()
	defer func() { stop(); <-done }()
	for ctx.Err() == nil {
		if err := t.round(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// reminder says when to tell something again. The zero value is due.
type reminder struct{ next atomic.Int64 }

func (r *reminder) due(now time.Time) bool {
	next := r.next.Load()
	return now.UnixNano() >= next && r.next.CompareAndSwap(next, now.Add(remindEvery).UnixNano())
}

package lease

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/projectord/projectord/internal/redisx"
)

const (
	// DefaultTTL is how long a session lives without a heartbeat unless its
	// configuration says otherwise.
	DefaultTTL = 3 * time.Second

	minTTL = 100 * time.Millisecond

	registerTries = 3
)

// errRegistered says that a session has the name already. Names are random, so
// that is this process itself, through a client that sent the command twice.
var errRegistered = errors.New("the session exists already")

// SessionConfig configures a [Session].
type SessionConfig struct {
	// Worker is the name of the worker; the session's name begins with it.
	Worker string
	// Name is the guarded name of the worker. The session dies when it is
	// lost. Nil for a worker whose name is not guarded.
	Name *Name
	// Partitions are those the session works on. Defaults to all.
	Partitions []int
	// TTL is how long the session lives without a heartbeat, and with that how
	// long its work rests after a crash. At least 100 ms; defaults to
	// [DefaultTTL].
	TTL time.Duration
}

// Session is one incarnation of a worker in some partitions. Dead or stopped, it
// never comes back: a worker that goes on does so with a new one. It is safe for
// concurrent use.
type Session struct {
	log        *Log
	name       string
	ttl        time.Duration
	partitions []int
	guard      *Name
	done       chan struct{} // closed when err is set
	asked      chan struct{} // closed when it was asked to end
	askedOnce  sync.Once

	mu       sync.Mutex
	deadline time.Time   // when this process must think itself dead; guarded by mu
	timer    *time.Timer // ends the session at deadline; guarded by mu
	err      error       // why the session ended; guarded by mu
	trouble  error       // why the last heartbeat failed, nil if it did not; guarded by mu
}

// Register opens a session. It lives for its TTL and then dies unless
// [Session.Run] runs.
func (l *Log) Register(ctx context.Context, config SessionConfig) (*Session, error) {
	if config.Worker == "" && config.Name != nil {
		config.Worker = config.Name.String()
	}
	if err := checkWorker(config.Worker); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	if config.TTL == 0 {
		config.TTL = DefaultTTL
	}
	if config.TTL < minTTL {
		return nil, fmt.Errorf("lease: config: TTL is %s; it is at least %s", config.TTL, minTTL)
	}
	if config.Partitions == nil {
		config.Partitions = l.all()
	}
	for _, p := range config.Partitions {
		if p < 0 || p >= l.Partitions() {
			return nil, fmt.Errorf("lease: config: there is no partition %d; they are 0 to %d", p, l.Partitions()-1)
		}
	}
	s := &Session{
		log: l, ttl: config.TTL, partitions: slices.Clone(config.Partitions), guard: config.Name,
		done: make(chan struct{}), asked: make(chan struct{}),
	}
	// Each attempt takes a new name. That of an attempt whose reply was lost dies
	// unused; a command that arrives late cannot bring a used one back.
	var err error
	for range registerTries {
		err = redisx.Retry(ctx, func() error { return s.register(ctx, config.Worker+"."+randomSuffix()) })
		if !errors.Is(err, errRegistered) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// register opens the session under a name.
func (s *Session) register(ctx context.Context, name string) error {
	s.name = name
	start := time.Now()
	replies, err := s.log.once(ctx, "registering "+name, s.log.scripts.register, s.calls())
	if err != nil {
		return err
	}
	for i, reply := range replies {
		if reply != int64(codeDone) {
			return fmt.Errorf("lease: registering %s in partition %d: %w", name, s.partitions[i], errRegistered)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = s.deadlineFrom(start)
	s.timer = time.AfterFunc(time.Until(s.deadline), s.expire)
	return nil
}

// calls are those of the scripts that take the session and its TTL.
func (s *Session) calls() []call {
	calls := make([]call, len(s.partitions))
	for i, p := range s.partitions {
		calls[i] = call{
			partition: p,
			keys:      []string{s.log.keys.Sessions(p)},
			args:      []any{s.name, s.ttl.Milliseconds()},
		}
	}
	return calls
}

// deadlineFrom returns when a session must think itself dead that was extended by
// a command sent at start. The server counts from when it saw the command, later,
// and a tenth less allows for clocks that do not run alike.
func (s *Session) deadlineFrom(start time.Time) time.Time { return start.Add(s.ttl - s.ttl/10) }

// Name returns the session's name.
func (s *Session) Name() string { return s.name }

// Partitions returns the partitions the session works on.
func (s *Session) Partitions() []int { return slices.Clone(s.partitions) }

// TTL returns how long the session lives without a heartbeat.
func (s *Session) TTL() time.Duration { return s.ttl }

// Readers divides the partitions into sets that one [Member.Read] can wait for
// together: all at once on a single Redis, each alone on a cluster.
func (s *Session) Readers() [][]int {
	if !s.log.cluster {
		return [][]int{s.Partitions()}
	}
	var sets [][]int
	for _, p := range s.partitions {
		sets = append(sets, []int{p})
	}
	return sets
}

// Done is closed when the session is dead or stopped.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns nil while the session lives, then an error that wraps [ErrFenced],
// [ErrNameLost] or [ErrStopped]. A session is also dead to its process from
// shortly before the deadline that the server holds.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && !time.Now().Before(s.deadline) {
		s.endLocked(s.late())
	}
	return s.err
}

// end ends the session unless it has ended, and returns why it did.
func (s *Session) end(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(err)
	return s.err
}

func (s *Session) endLocked(err error) {
	if s.err == nil {
		s.err = err
		s.timer.Stop()
		close(s.done)
	}
}

// expire ends the session if its deadline has passed.
func (s *Session) expire() { s.Err() }

// late says that no heartbeat succeeded in time; s.mu is held.
func (s *Session) late() error {
	if s.trouble != nil {
		return fmt.Errorf("lease: %s: %w: no heartbeat succeeded for %s: %w", s.name, ErrFenced, s.ttl, s.trouble)
	}
	return fmt.Errorf("lease: %s: %w: no heartbeat was sent for %s", s.name, ErrFenced, s.ttl)
}

// fenced ends the session because a script said that it is dead.
func (s *Session) fenced(partition int) error {
	return s.end(fmt.Errorf("lease: %s: %w: Redis holds it for dead in partition %d", s.name, ErrFenced, partition))
}

// Stop ends the session and gives back what it had: its leases are free, its
// pointers are swept by others at once. [Session.Asked] tells afterwards whether it had
// been asked to end, also where no heartbeat came upon it, or the session was dead before. A worker first settles what it has
// committed. Stopping again is harmless, and worth it after an error; a session
// that could not be stopped dies at its deadline.
//
// The context should outlive the one whose end made the worker stop.
func (s *Session) Stop(ctx context.Context) error {
	s.end(fmt.Errorf("lease: %s: %w", s.name, ErrStopped))
	calls := make([]call, len(s.partitions))
	for i, p := range s.partitions {
		calls[i] = call{
			partition: p,
			keys:      []string{s.log.keys.Sessions(p), s.log.keys.Log(p), s.log.keys.Draining(p)},
			args:      []any{s.name},
		}
	}
	replies, err := s.log.run(ctx, "stopping "+s.name, s.log.scripts.stop, calls)
	for _, reply := range replies {
		s.heed(reply)
	}
	return err
}

// Run sends heartbeats, one command per partition in one round trip. It blocks
// until ctx ends, which leaves the session to its deadline, or the session is
// stopped; then it returns nil. When the session dies it returns why.
func (s *Session) Run(ctx context.Context) error {
	var lost <-chan struct{}
	if s.guard != nil {
		lost = s.guard.Done()
	}
	timer := time.NewTimer(s.interval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.done:
			if err := s.Err(); !errors.Is(err, ErrStopped) {
				return err
			}
			return nil
		case <-lost:
			return s.end(fmt.Errorf("lease: %s: %w", s.name, s.guard.Err()))
		case <-timer.C:
			next := s.interval()
			if s.beat(ctx) != nil {
				// The round trip was repeated already; the server is in trouble.
				next /= 8
			}
			timer.Reset(next)
		}
	}
}

// longestInterval is how long a session can live on that was asked to end, and does not
// know yet.
const longestInterval = 1500 * time.Millisecond

// interval is the time between heartbeats: short enough that one may fail and be
// repeated, long enough that 16 partitions cost a dozen commands a second.
func (s *Session) interval() time.Duration { return min(s.ttl*9/20, longestInterval) }

// beat extends the session in all its partitions.
func (s *Session) beat(ctx context.Context) error {
	calls := s.calls()
	for i, p := range s.partitions {
		calls[i].keys = append(calls[i].keys, s.log.keys.Draining(p))
	}
	start := time.Now()
	replies, err := s.log.run(ctx, "heartbeat of "+s.name, s.log.scripts.heartbeat, calls)
	if err != nil {
		s.mu.Lock()
		s.trouble = err
		s.mu.Unlock()
		return err
	}
	for i, reply := range replies {
		if reply == int64(codeFenced) {
			return s.fenced(s.partitions[i])
		}
		s.heed(reply)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = nil
	if s.err == nil {
		s.deadline = s.deadlineFrom(start)
		s.timer.Reset(time.Until(s.deadline))
	}
	return s.err
}

// randomSuffix makes the names of sessions unique.
func randomSuffix() string {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

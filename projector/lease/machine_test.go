package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// machine runs two workers on two streams over the real scripts, one step at a
// time and in any order, with deaths, stalls, lost replies and late commands. It
// keeps the checkpoints, which the sink would, and after each step compares what
// Redis holds with what must never be otherwise.
//
// It is the model of the protocol with the scripts in place of their model.
type machine struct {
	log     *Log
	group   *Group
	streams [2]*stream
	workers [2]*puppet
	born    int      // workers started
	ghosts  []ghost  // commands under way whose sender has given up
	names   []string // of all sessions ever
	added   int
	named   map[string]string // stream by pointer
	trace   []string
	noCheck bool // commits without compare-and-set, as a negative control
	seen    *found
}

// stream is what the store and the sink hold of a stream.
type stream struct {
	name       string
	head       uint64
	checkpoint uint64
	applied    []uint64
}

// puppet is a worker that does one step when told.
type puppet struct {
	member *Member
	got    map[string]bool // pointers to claim
	work   map[string]*work
}

// work is a stream the puppet has.
type work struct {
	pointers map[string]bool
	phase    phase
	from, to uint64
}

type phase int

const (
	loading phase = iota
	committing
	settling
)

type ghost struct {
	name string
	run  func()
}

// step is something that can happen now.
type step struct {
	name string
	run  func() error
}

const (
	maxAnnounced = 8
	maxBorn      = 8
	maxGhosts    = 2
)

func newMachine(client redis.UniversalClient, namespace string, scripts *scriptSet) (*machine, error) {
	log, err := NewLog(client, Config{Namespace: namespace, Partitions: 1})
	if err != nil {
		return nil, err
	}
	log.scripts = scripts
	m := &machine{log: log, named: make(map[string]string)}
	if m.group, err = log.Group(context.Background(), "g@1"); err != nil {
		return nil, err
	}
	for i := range m.streams {
		m.streams[i] = &stream{name: "s-" + strconv.Itoa(i)}
	}
	for i := range m.workers {
		if err := m.start(i); err != nil {
			return nil, err
		}
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// close drops what the run left.
func (m *machine) close() {
	for _, w := range m.workers {
		if w != nil {
			w.member.session.end(ErrStopped)
		}
	}
	m.log.client.FlushAll(context.Background())
}

// start begins a new incarnation of a worker.
func (m *machine) start(i int) error {
	m.born++
	s, err := m.log.Register(context.Background(), SessionConfig{Worker: fmt.Sprintf("%c%d", 'A'+i, m.born), TTL: time.Hour})
	if err != nil {
		return err
	}
	m.names = append(m.names, s.name)
	m.workers[i] = &puppet{member: m.group.Join(s), got: make(map[string]bool), work: make(map[string]*work)}
	return nil
}

// die ends a worker in the middle of whatever it does.
func (m *machine) die(i int) {
	m.workers[i].member.session.end(ErrStopped) // only its timer
	m.workers[i] = nil
}

// again has a worker that was told it is dead go on with a new session.
func (m *machine) again(i int, err error) error {
	if !errors.Is(err, ErrFenced) {
		return err
	}
	m.die(i)
	if m.born < maxBorn {
		return m.start(i)
	}
	return nil
}

// late returns a member for commands that reach the server whatever their sender
// thinks of its session by then.
func (m *machine) late(w *puppet) *Member {
	s := &Session{log: m.log, name: w.member.session.name, deadline: time.Now().Add(time.Hour), done: make(chan struct{}), asked: make(chan struct{}), ttl: time.Hour, partitions: []int{0}}
	s.timer = time.AfterFunc(time.Hour, func() {})
	s.timer.Stop()
	return m.group.Join(s)
}

// steps returns all that can happen next: what goes well, and what does not.
func (m *machine) steps() (good, bad []step) {
	add := func(run func() error, format string, args ...any) {
		s := step{fmt.Sprintf(format, args...), run}
		if s.isGood() {
			good = append(good, s)
		} else {
			bad = append(bad, s)
		}
	}
	if m.added < maxAnnounced {
		for _, s := range m.streams {
			add(func() error { return m.announce(s) }, "append %s", s.name)
		}
	}
	for i, w := range m.workers {
		if w == nil {
			if m.born < maxBorn {
				add(func() error { return m.start(i) }, "%c starts", 'A'+i)
			}
			continue
		}
		m.workerSteps(i, w, add)
	}
	for i, g := range m.ghosts {
		add(func() error {
			m.ghosts = slices.Delete(m.ghosts, i, i+1)
			g.run()
			return nil
		}, "late: %s", g.name)
	}
	for _, name := range slices.Sorted(maps.Keys(m.seen.sessions)) {
		add(func() error { return m.expire(name) }, "%s misses its deadline", name)
	}
	for _, stream := range slices.Sorted(maps.Keys(m.seen.parked)) {
		add(func() error { _, err := m.group.Retry(ctx, stream); return err }, "retry %s", stream)
		at := parseParking(m.seen.parked[stream]).Version
		skip := func(version uint64) error {
			_, err := m.group.Skip(ctx, "p", stream, version, Skip{Reason: "poison"})
			return err
		}
		add(func() error { return skip(at) }, "skip %s at %d", stream, at)
		add(func() error {
			if err := skip(at + 1); !errors.As(err, new(*SkipError)) {
				return fmt.Errorf("I4: %s is parked at %d, and %d was skipped: %v", stream, at, at+1, err)
			}
			return nil
		}, "skip %s at %d, where it is not parked", stream, at+1)
		if len(m.ghosts) < maxGhosts {
			add(func() error {
				m.ghosts = append(m.ghosts, ghost{fmt.Sprintf("skip %s at %d", stream, at), func() { skip(at) }})
				return nil
			}, "skip of %s is under way", stream)
		}
	}
	add(func() error { _, err := m.log.Trim(ctx, 0); return err }, "trim")
	add(func() error { _, err := m.group.Reap(ctx, 0); return err }, "reap")
	return good, bad
}

// isGood reports whether a step is one that workers make when nothing goes wrong.
func (s step) isGood() bool {
	for _, word := range []string{
		"dies", "stops", "lost", "under way", "late:", "misses", "heartbeat",
		"parks", "releases", "leaves", "retry", "skip", "trim", "reap", "asked",
	} {
		if strings.Contains(s.name, word) {
			return false
		}
	}
	return true
}

var ctx = context.Background()

// workerSteps adds what a worker can do and what can happen to it.
func (m *machine) workerSteps(i int, w *puppet, add func(func() error, string, ...any)) {
	name := w.member.session.name[:2]
	haunt := func(what string, run func()) {
		if len(m.ghosts) < maxGhosts {
			add(func() error { m.ghosts = append(m.ghosts, ghost{name + " " + what, run}); return nil }, "%s %s is under way", name, what)
		}
	}
	add(func() error { m.die(i); return nil }, "%s dies", name)
	add(func() error { return m.again(i, w.member.session.beat(ctx)) }, "%s heartbeat", name)
	add(func() error {
		if err := m.log.Drain(ctx, w.member.session.name); !errors.Is(err, ErrFenced) {
			return err
		}
		return nil
	}, "%s is asked to end", name)
	add(func() error {
		err := w.member.session.Stop(ctx)
		m.die(i)
		return err
	}, "%s stops", name)
	zombie := m.late(w)
	haunt("heartbeat", func() { zombie.session.beat(ctx) })

	read := func(x *Member) ([]Pointer, error) {
		b, err := x.Read(ctx, []int{0}, 2, 0)
		return b.Pointers, err
	}
	if len(m.seen.announced) > 0 {
		add(func() error { return m.take(i, w)(read(w.member)) }, "%s reads", name)
		add(func() error { read(w.member); return nil }, "%s reads, reply lost", name)
	}
	haunt("read", func() { read(zombie) })
	add(func() error {
		b, err := w.member.ReadPending(ctx, 0)
		return m.take(i, w)(b.Pointers, err)
	}, "%s reads what is pending", name)

	sweep := func(x *Member) ([]Pointer, error) {
		swept, err := x.Sweep(ctx, 0, 2)
		return swept.Pointers, err
	}
	add(func() error { return m.take(i, w)(sweep(w.member)) }, "%s sweeps", name)
	add(func() error { sweep(w.member); return nil }, "%s sweeps, reply lost", name)
	haunt("sweep", func() { sweep(zombie) })

	for _, s := range m.streams {
		if ids := m.of(s, w.got); len(ids) > 0 {
			claims := []Claim{{Stream: s.name, Pointers: ids}}
			if work := w.work[s.name]; work != nil {
				add(func() error { w.keep(work, ids); return nil }, "%s keeps pointers of %s", name, s.name)
			}
			add(func() error { return m.claim(i, w, s, claims) }, "%s claims %s", name, s.name)
			add(func() error { w.member.Claim(ctx, claims); return nil }, "%s claims %s, reply lost", name, s.name)
			haunt("claim "+s.name, func() { zombie.Claim(ctx, claims) })
		}
		if work := w.work[s.name]; work != nil {
			m.workSteps(i, w, s, work, zombie, name, add, haunt)
		}
	}
}

// workSteps adds what a worker can do with a stream it has.
func (m *machine) workSteps(i int, w *puppet, s *stream, x *work, zombie *Member, name string, add func(func() error, string, ...any), haunt func(string, func())) {
	switch x.phase {
	case loading:
		if s.checkpoint >= s.head {
			add(func() error { x.from, x.phase = s.checkpoint, settling; return nil }, "%s loads %s, nothing new", name, s.name)
			return
		}
		for to := s.checkpoint + 1; to <= s.head; to++ {
			add(func() error { x.from, x.to, x.phase = s.checkpoint, to, committing; return nil }, "%s loads %s and folds to %d", name, s.name, to)
		}
	case committing:
		from, to := x.from, x.to
		add(func() error {
			if m.commit(s, from, to) {
				x.from, x.phase = to, settling
			} else {
				x.phase = loading
			}
			return nil
		}, "%s commits %s %d to %d", name, s.name, from, to)
		if len(m.ghosts) < maxGhosts {
			add(func() error {
				m.ghosts = append(m.ghosts, ghost{fmt.Sprintf("%s commit %s %d to %d", name, s.name, from, to), func() { m.commit(s, from, to) }})
				x.phase = loading
				return nil
			}, "%s commit of %s is under way", name, s.name)
		}
		ids := slices.Sorted(maps.Keys(x.pointers))
		park := func(p *Member) (Result, error) {
			return p.Park(ctx, s.name, ids, Parking{Version: from + 1, Error: "poison"})
		}
		add(func() error { return m.parked(i, w, s, x)(park(w.member)) }, "%s parks %s", name, s.name)
		add(func() error { park(w.member); return nil }, "%s parks %s, reply lost", name, s.name)
		haunt("park "+s.name, func() { park(zombie) })
		add(func() error {
			if err := w.member.Release(ctx, []string{s.name}); err != nil {
				return m.again(i, err)
			}
			w.drop(s, x, true)
			return nil
		}, "%s releases %s", name, s.name)
		claims := []Claim{{s.name, ids}}
		add(func() error {
			if err := w.member.Leave(ctx, claims); err != nil {
				return m.again(i, err)
			}
			w.drop(s, x, false)
			return nil
		}, "%s leaves %s", name, s.name)
		add(func() error { w.member.Leave(ctx, claims); return nil }, "%s leaves %s, reply lost", name, s.name)
		haunt("leave "+s.name, func() { zombie.Leave(ctx, claims) })
	case settling:
		settlements := []Settlement{{Stream: s.name, Version: x.from, Pointers: slices.Sorted(maps.Keys(x.pointers))}}
		add(func() error { return m.settle(i, w, s, x, settlements) }, "%s settles %s at %d", name, s.name, x.from)
		add(func() error { w.member.Settle(ctx, settlements); return nil }, "%s settles %s at %d, reply lost", name, s.name, x.from)
		haunt(fmt.Sprintf("settle %s at %d", s.name, x.from), func() { zombie.Settle(ctx, settlements) })
	}
}

// of returns those of the pointers that belong to the stream.
func (m *machine) of(s *stream, pointers map[string]bool) []string {
	var ids []string
	for id := range pointers {
		if m.named[id] == s.name {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// take adds pointers the worker was given to those it will claim, unless it has
// them already.
func (m *machine) take(i int, w *puppet) func([]Pointer, error) error {
	return func(pointers []Pointer, err error) error {
		if err != nil {
			return m.again(i, err)
		}
		for _, p := range pointers {
			m.named[p.ID] = p.Stream
			if x := w.work[p.Stream]; x == nil || !x.pointers[p.ID] {
				w.got[p.ID] = true
			}
		}
		return nil
	}
}

// keep moves pointers of a stream the worker has to that stream.
func (w *puppet) keep(x *work, ids []string) {
	for _, id := range ids {
		delete(w.got, id)
		x.pointers[id] = true
	}
}

// drop ends the work on a stream. If the pointers are still the worker's, it will
// claim them again.
func (w *puppet) drop(s *stream, x *work, reclaim bool) {
	delete(w.work, s.name)
	if reclaim {
		for id := range x.pointers {
			w.got[id] = true
		}
	}
}

func (m *machine) announce(s *stream) error {
	m.added++
	s.head++
	pipe := m.log.client.TxPipeline()
	pipe.HSet(ctx, m.log.keys.Heads(0), s.name, s.head)
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: m.log.keys.Log(0), Values: []any{"s", s.name, "v", s.head}})
	_, err := pipe.Exec(ctx)
	return err
}

// expire makes the deadline of a session that is registered pass.
func (m *machine) expire(name string) error {
	key := m.log.keys.Sessions(0)
	if there, err := m.log.client.HExists(ctx, key, name).Result(); err != nil || !there {
		return err
	}
	return m.log.client.HSet(ctx, key, name, 1).Err()
}

func (m *machine) claim(i int, w *puppet, s *stream, claims []Claim) error {
	claimed, err := w.member.Claim(ctx, claims)
	if err != nil {
		return m.again(i, err)
	}
	for _, id := range claims[0].Pointers {
		delete(w.got, id)
	}
	if c := claimed[0]; c.Verdict == Leased || c.Verdict == Mine {
		if w.work[s.name] == nil {
			w.work[s.name] = &work{pointers: make(map[string]bool)}
		}
		w.keep(w.work[s.name], c.Pointers)
	}
	return nil
}

// commit is the sink.
func (m *machine) commit(s *stream, from, to uint64) bool {
	if s.checkpoint != from && !m.noCheck {
		return false
	}
	for v := from + 1; v <= to; v++ {
		s.applied = append(s.applied, v)
	}
	s.checkpoint = to
	return true
}

func (m *machine) settle(i int, w *puppet, s *stream, x *work, settlements []Settlement) error {
	settled, err := w.member.Settle(ctx, settlements)
	if err != nil {
		return m.again(i, err)
	}
	switch settled[0].Result {
	case Done:
		w.drop(s, x, false)
	case NotMine:
		w.drop(s, x, true)
	case Behind:
		x.phase = loading
	}
	return nil
}

func (m *machine) parked(i int, w *puppet, s *stream, x *work) func(Result, error) error {
	return func(r Result, err error) error {
		if err != nil {
			return m.again(i, err)
		}
		w.drop(s, x, r == NotMine)
		return nil
	}
}

// one in so many steps is one that goes wrong
const badSteps = 4

// step makes one step, choosing by calls of choose, which returns a number below
// n, and checks what it left.
func (m *machine) step(choose func(n int) int) error {
	steps, bad := m.steps()
	if len(steps) == 0 || choose(badSteps) == badSteps-1 {
		steps = bad
	}
	s := steps[choose(len(steps))]
	m.trace = append(m.trace, s.name)
	if err := s.run(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return m.check()
}

// found is what Redis holds.
type found struct {
	announced map[string]bool              // streams with an undelivered pointer
	pending   map[string]map[string]string // stream → pointer → session
	leases    map[string]string
	sessions  map[string]string
	parked    map[string]string
	left      int // pending or undelivered entries
}

func (m *machine) look() (*found, error) {
	keys, client := m.log.keys, m.log.client
	pipe := client.Pipeline()
	log := pipe.XRange(ctx, keys.Log(0), "-", "+")
	groups := pipe.XInfoGroups(ctx, keys.Log(0))
	pending := pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: keys.Log(0), Group: m.group.name, Start: "-", End: "+", Count: 1000})
	leases := pipe.HGetAll(ctx, keys.Leases(0, m.group.name))
	sessions := pipe.HGetAll(ctx, keys.Sessions(0))
	parked := pipe.HGetAll(ctx, keys.Parked(0, m.group.name))
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	f := &found{
		announced: make(map[string]bool), pending: make(map[string]map[string]string),
		leases: leases.Val(), sessions: sessions.Val(), parked: parked.Val(),
	}
	there := make(map[string]string)
	for _, e := range log.Val() {
		name, _ := e.Values["s"].(string)
		there[e.ID] = name
		if compareIDs(e.ID, groups.Val()[0].LastDeliveredID) > 0 {
			f.announced[name] = true
			f.left++
		}
	}
	for _, p := range pending.Val() {
		f.left++
		name, ok := there[p.ID]
		if !ok {
			return nil, fmt.Errorf("pointer %s is pending for %s and gone from the log", p.ID, p.Consumer)
		}
		if f.pending[name] == nil {
			f.pending[name] = make(map[string]string)
		}
		f.pending[name][p.ID] = p.Consumer
	}
	return f, nil
}

// check compares what Redis holds with what must hold after every step.
func (m *machine) check() error {
	f, err := m.look()
	if err != nil {
		return err
	}
	m.seen = f
	for _, s := range m.streams {
		for i, v := range s.applied {
			if v != uint64(i)+1 {
				return fmt.Errorf("I1: %s: the effects are %v", s.name, s.applied)
			}
		}
		_, parked := f.parked[s.name]
		if s.checkpoint < s.head && !parked && !f.announced[s.name] && len(f.pending[s.name]) == 0 {
			return fmt.Errorf("I4: %s: checkpoint %d, head %d: nothing undelivered, nothing pending, not parked", s.name, s.checkpoint, s.head)
		}
		owner, leased := f.leases[s.name]
		if deadline, _ := strconv.Atoi(f.sessions[owner]); !leased || deadline <= 1 {
			continue
		}
		if !slices.Contains(slices.Collect(maps.Values(f.pending[s.name])), owner) {
			return fmt.Errorf("own: %s: %s lives, has the lease and no pointer pending", s.name, owner)
		}
	}
	return nil
}

// rest lets the workers finish, without any more failures, and checks that they
// can.
func (m *machine) rest() error {
	m.trace = append(m.trace, "rest")
	m.ghosts = nil
	// Whoever is not among the workers is dead.
	for _, name := range m.names {
		if !slices.ContainsFunc(m.workers[:], func(w *puppet) bool { return w != nil && w.member.session.name == name }) {
			if err := m.expire(name); err != nil {
				return err
			}
		}
	}
	for range 50 {
		for i := range m.workers {
			if err := m.finish(i); err != nil {
				return err
			}
		}
		if err := m.check(); err != nil {
			return err
		}
		f, err := m.look()
		if err != nil {
			return err
		}
		if f.left == 0 && len(f.leases) == 0 {
			return nil
		}
	}
	f, err := m.look()
	return errors.Join(err, fmt.Errorf("liveness: the workers come to no rest: %+v", f))
}

// finish has a worker do all it can.
func (m *machine) finish(i int) error {
	if m.workers[i] == nil {
		m.born-- // the end is not to fail for the bound
		if err := m.start(i); err != nil {
			return err
		}
	}
	var steps []step
	m.workerSteps(i, m.workers[i], func(run func() error, format string, args ...any) {
		if s := (step{fmt.Sprintf(format, args...), run}); s.isGood() {
			steps = append(steps, s)
		}
	})
	w := m.workers[i]
	for _, s := range steps {
		if m.workers[i] != w {
			return nil // it was fenced
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

package redisstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// lossy is a client that loses what is sent or answered, with what is done before it
// connects anew.
type lossy struct {
	line *faultconn.Line
	left atomic.Int64 // bytes until a connection breaks that is written to, negative for never

	mu      sync.Mutex   // protects what follows
	between func() error // nil once it was called; its error refuses all connections from then on
	refused error
	last    error // where set, refuses all connections after the one that between came before
}

func newLossy() *lossy {
	l := &lossy{line: new(faultconn.Line)}
	l.left.Store(-1)
	return l
}

func (l *lossy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	if l.between != nil {
		l.refused, l.between = l.between(), nil
	}
	refused := l.refused
	if l.between == nil && refused == nil {
		l.refused, l.last = l.last, nil
	}
	l.mu.Unlock()
	if refused != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: refused}
	}
	conn, err := l.line.Dialer(nil)(ctx, network, addr)
	return lossyConn{conn, &l.left}, err
}

// lose makes the client lose the reply of the next command, or the command itself.
func (l *lossy) lose(command bool, between func() error) {
	l.mu.Lock()
	l.between = between
	l.mu.Unlock()
	if command {
		l.left.Store(0)
	} else {
		l.line.CutAfter(0, 1)
	}
}

// lossyClients connect by a lossy client, and by another that loses nothing.
var lossyClients = map[string]func(t *testing.T, l *lossy) (client, other redis.UniversalClient){
	"NoRetries": func(t *testing.T, l *lossy) (client, other redis.UniversalClient) {
		return overLine(t, l.line, func(o *redis.Options) { clientSettings["NoRetries"](o); o.Dialer = l.dial }), testenv.Redis(t)
	},
	"ClientRetries": func(t *testing.T, l *lossy) (client, other redis.UniversalClient) {
		return overLine(t, l.line, func(o *redis.Options) { o.Dialer = l.dial }), testenv.Redis(t)
	},
	"Cluster": func(t *testing.T, l *lossy) (client, other redis.UniversalClient) {
		cluster := testenv.Cluster(t)
		options := *cluster.Options()
		options.Dialer, options.PoolSize = l.dial, 1
		c := redis.NewClusterClient(&options)
		t.Cleanup(func() { c.Close() })
		return c, cluster
	},
}

// Scenario 19: the reply of an append is lost, or the append itself, and what happens
// before it is repeated has the repetition refused. Only where nothing was stored it is
// said that nothing was.
func TestScenario19_RefusedAfterALostReply(t *testing.T) {
	ends := func(s *Store, stream eventstore.StreamID, cut bool) error {
		at, err := s.Tombstone(context.Background(), stream, eventstore.Any, eventstore.Reason{})
		if err == nil && cut {
			_, err = s.Truncate(context.Background(), stream, at.Last, false)
		}
		return err
	}
	follow := func(s *Store, stream eventstore.StreamID, n int, cut bool) error {
		at, err := s.Append(context.Background(), stream, eventstore.Any, newEvents(n)...)
		if err == nil && cut {
			_, err = s.Truncate(context.Background(), stream, at.Last, false)
		}
		return err
	}
	isUnknown := func(err error) bool {
		return errors.Is(err, eventstore.ErrOutcomeUnknown) && !errors.As(err, new(*eventstore.ConflictError)) && !errors.Is(err, eventstore.ErrTombstoned)
	}
	isStored := func(err error) bool { return err == nil }
	isConflict := func(err error) bool {
		return errors.As(err, new(*eventstore.ConflictError)) && !errors.Is(err, eventstore.ErrOutcomeUnknown)
	}
	isTombstoned := func(err error) bool {
		return errors.Is(err, eventstore.ErrTombstoned) && !errors.Is(err, eventstore.ErrOutcomeUnknown)
	}
	for name, c := range map[string]struct {
		expected eventstore.ExpectedVersion
		before   int  // events the stream has
		unsent   bool // the append is lost, and not its reply
		between  func(s *Store, stream eventstore.StreamID) error
		want     func(error) bool
	}{
		"ServerGone": {eventstore.Exact(2), 2, false, func(*Store, eventstore.StreamID) error { return errors.New("connection refused") }, isUnknown},
		"HeadsDamaged": {eventstore.Exact(2), 2, false, func(s *Store, stream eventstore.StreamID) error {
			return s.client.Set(context.Background(), s.keys.Heads(0), "x", 0).Err()
		}, isUnknown},
		"Followed":                 {eventstore.Exact(2), 2, false, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 1, false) }, isStored},
		"Truncated":                {eventstore.Exact(2), 2, false, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 1, true) }, isUnknown},
		"Tombstoned":               {eventstore.Exact(2), 2, false, func(s *Store, stream eventstore.StreamID) error { return ends(s, stream, false) }, isStored},
		"TombstonedAndTruncated":   {eventstore.Exact(2), 2, false, func(s *Store, stream eventstore.StreamID) error { return ends(s, stream, true) }, isUnknown},
		"NewAndTruncated":          {eventstore.NoStream, 0, false, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 1, true) }, isUnknown},
		"AnyHalfOutOfSight":        {eventstore.Any, 2, false, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 129, false) }, isUnknown},
		"AnyTombstoned":            {eventstore.Any, 2, false, func(s *Store, stream eventstore.StreamID) error { return ends(s, stream, false) }, isStored},
		"UnsentAndTaken":           {eventstore.Exact(2), 2, true, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 4, false) }, isConflict},
		"UnsentAndTooShort":        {eventstore.Exact(200), 2, true, func(s *Store, stream eventstore.StreamID) error { return nil }, isConflict},
		"UnsentAndMade":            {eventstore.NoStream, 0, true, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 4, false) }, isConflict},
		"UnsentAndMadeLong":        {eventstore.NoStream, 0, true, func(s *Store, stream eventstore.StreamID) error { return follow(s, stream, 200, false) }, isUnknown},
		"UnsentAndNoStream":        {eventstore.StreamExists, 0, true, func(s *Store, stream eventstore.StreamID) error { return nil }, isConflict},
		"UnsentAndTombstoned":      {eventstore.Any, 2, true, func(s *Store, stream eventstore.StreamID) error { return ends(s, stream, false) }, isTombstoned},
		"UnsentAndTombstonedExact": {eventstore.Exact(2), 2, true, func(s *Store, stream eventstore.StreamID) error { return ends(s, stream, false) }, isTombstoned},
	} {
		for client, connect := range lossyClients {
			t.Run(name+"/"+client, func(t *testing.T) {
				t.Parallel()
				l := newLossy()
				near, far := connect(t, l)
				other := open(t, far, Config{Partitions: 1})
				s := open(t, near, Config{Namespace: other.Namespace()})
				mustAppend(t, s, cart("warm"), newEvent())
				if c.before > 0 {
					mustAppend(t, s, cart(1), newEvents(c.before)...)
				}
				l.lose(c.unsent, func() error { return c.between(other, cart(1)) })
				if _, err := s.Append(t.Context(), cart(1), c.expected, newEvents(3)...); !c.want(err) {
					t.Errorf("got %v", err)
				}
				if l.left.Load() >= 0 || !c.unsent && l.line.Cuts() != 1 {
					t.Error("nothing was lost: that shows nothing")
				}
			})
		}
	}
}

// Connections break many times in a row, and a server cannot be reached many times: since
// go-redis does not send an append again, the store does so as often as both did.
func TestScenario19_OutlastsAnOutage(t *testing.T) {
	for name, c := range map[string]struct{ cuts, refusals int }{
		"ConnectionsBreak": {8, 0},
		"ServerAway":       {1, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := new(faultconn.Line)
			var refusals atomic.Int64
			client := overLine(t, line, func(o *redis.Options) {
				// A pool with as many errors as connections does not dial each time it is asked.
				o.DialerRetries, o.PoolSize = 1, 20
				dial := o.Dialer
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if refusals.Add(-1) >= 0 {
						return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
					}
					return dial(ctx, network, addr)
				}
			})
			s := open(t, client, Config{Partitions: 1})
			mustAppend(t, s, cart("warm"), newEvent())
			refusals.Store(int64(c.refusals))
			line.CutAfter(0, c.cuts)
			event := newEvent()
			if _, err := s.Append(t.Context(), cart(1), eventstore.NoStream, event); err != nil {
				t.Error(err)
			}
			if line.Cuts() != c.cuts || refusals.Load() > 0 {
				t.Errorf("%d cuts, %d refusals left: that shows nothing", line.Cuts(), refusals.Load())
			}
			holds(t, s, cart(1), event)
		})
	}
}

// What a repetition refuses is certain by its own reply: nothing has to be asked for that,
// which could hold up a lane for as long as the server does not answer.
func TestScenario19_RefusedAndServerGone(t *testing.T) {
	t.Parallel()
	l := newLossy()
	client, far := lossyClients["NoRetries"](t, l)
	other := open(t, far, Config{Partitions: 1})
	s := open(t, client, Config{Namespace: other.Namespace()})
	appends := make([]eventstore.StreamAppend, 3)
	for i := range appends {
		appends[i] = eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.Exact(0), Events: newEvents(1)}
		mustAppend(t, other, cart(i), newEvent())
	}
	mustAppend(t, s, cart("warm"), newEvent())
	l.last = errors.New("connection refused")
	l.lose(true, func() error { return nil })
	for i, o := range s.AppendMany(t.Context(), appends) {
		if !errors.As(o.Err, new(*eventstore.ConflictError)) {
			t.Errorf("append %d: got %v, want a conflict", i, o.Err)
		}
	}
	if l.last != nil || l.refused == nil {
		t.Error("there was no other connection: that shows nothing")
	}
}

// The server refuses the repetition before it runs it: the user may not connect any more.
func TestScenario19_RefusedUnrunAfterALostReply(t *testing.T) {
	t.Parallel()
	admin := testenv.Redis(t)
	l := newLossy()
	user := testenv.Namespace(t)
	if err := admin.Do(t.Context(), "ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Do(context.WithoutCancel(t.Context()), "ACL", "DELUSER", user) })
	client := overLine(t, l.line, func(o *redis.Options) { o.Dialer, o.Username, o.Password = l.dial, user, "secret" })
	s := open(t, client, Config{Partitions: 1})
	mustAppend(t, s, cart("warm"), newEvent())
	l.lose(false, func() error {
		admin.Do(context.WithoutCancel(t.Context()), "ACL", "SETUSER", user, "resetpass")
		return nil
	})
	if _, err := s.Append(t.Context(), cart(1), eventstore.NoStream, newEvent()); !errors.Is(err, eventstore.ErrOutcomeUnknown) || !redis.HasErrorPrefix(err, "WRONGPASS") {
		t.Errorf("got %v", err)
	}
}

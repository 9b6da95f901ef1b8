package lease

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// marks returns how many partitions hold that the session was asked to end.
func marks(t *testing.T, l *Log, session string) (n int) {
	t.Helper()
	for p := range l.Partitions() {
		there, err := l.client.HExists(t.Context(), l.keys.Draining(p), session).Result()
		if err != nil {
			t.Fatal(err)
		}
		if there {
			n++
		}
	}
	return n
}

func wantAsked(t *testing.T, s *Session, want bool) {
	t.Helper()
	select {
	case <-s.Asked():
		if !want {
			t.Errorf("%s was asked to end", s.Name())
		}
	default:
		if want {
			t.Errorf("%s was not asked to end", s.Name())
		}
	}
}

// A session learns by its heartbeats that it was asked to end, lives on until it does,
// and others see it. Nobody else is asked, and nothing is left of it once others sweep.
func TestDrain(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 4)
		g := newGroup(t, l)
		// The heartbeats of a session that lives long come soon enough for that.
		sweeper := join(t, g, "blue", time.Hour)
		blue, other := join(t, g, "blue", time.Hour).session, sweeper.session
		ended := running(t, blue)
		if err := l.Drain(t.Context(), blue.Name()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		within(t, "the heartbeat", blue.Asked())
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it took %s to see it", took)
		}
		if err := blue.Err(); err != nil {
			t.Errorf("it does not live on: %v", err)
		}
		if err := l.Drain(t.Context(), blue.Name()); err != nil {
			t.Errorf("asking again: %v", err)
		}
		if err := other.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantAsked(t, other, false)
		all, err := l.Live(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatalf("%+v, %v", all, err)
		}
		for _, s := range all {
			if want := s.Name == blue.Name(); s.Draining != want {
				t.Errorf("%s: draining %t, want %t", s.Name, s.Draining, want)
			}
		}
		if err := blue.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := within(t, "its end", ended); err != nil {
			t.Error(err)
		}
		if drained, err := l.Drained(t.Context(), blue.Name()); err != nil || !drained {
			t.Errorf("it has ended, and that is told as %t, %v", drained, err)
		}
		for _, gone := range []string{blue.Name(), "nobody.1"} {
			if err := l.Drain(t.Context(), gone); !errors.Is(err, ErrFenced) {
				t.Errorf("asking %s: %v", gone, err)
			}
		}
		if n := marks(t, l, "nobody.1"); n != 0 {
			t.Errorf("asking nobody left %d marks", n)
		}
		wantAsked(t, join(t, g, "blue", time.Hour).session, false)
	})
}

// A session that ends before a heartbeat came upon it learns it by ending.
func TestDrainSeenByStopping(t *testing.T) {
	l := newLog(t, testenv.Redis(t), 4)
	s := join(t, newGroup(t, l), "blue", time.Hour).session
	if err := l.Drain(t.Context(), s.Name()); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, s, false)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, s, true)
}

// It learns it also where the reply was lost: the call that is made again finds no session.
func TestDrainSeenByStoppingAgain(t *testing.T) {
	line := new(faultconn.Line)
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer, options.PoolSize, options.MaxRetries = line.Dialer(nil), 1, -1
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	l := newLog(t, client, 4)
	g := newGroup(t, l)
	first, s := join(t, g, "blue", time.Hour).session, join(t, g, "blue", time.Hour).session
	if err := first.Stop(t.Context()); err != nil { // the server knows the script from here on
		t.Fatal(err)
	}
	wantAsked(t, first, false)
	if err := l.Drain(t.Context(), s.Name()); err != nil {
		t.Fatal(err)
	}
	line.CutAfter(0, 1)
	if err := s.Stop(t.Context()); err != nil || line.Cuts() != 1 {
		t.Fatalf("%v, with %d replies lost", err, line.Cuts())
	}
	wantAsked(t, s, true)
}

// A session that died without having seen that it was asked to end learns it when its
// process stops it, also where the reply is lost and it stops it again.
func TestDrainOfTheDead(t *testing.T) {
	l := newLog(t, testenv.Redis(t), 4)
	g := newGroup(t, l)
	dead, alive := join(t, g, "blue", time.Hour), join(t, g, "green", time.Hour)
	s := dead.session
	if err := l.Drain(t.Context(), s.Name()); err != nil {
		t.Fatal(err)
	}
	for p := range l.Partitions() {
		if err := l.client.HSet(t.Context(), l.keys.Sessions(p), s.Name(), 1).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := alive.Sweep(t.Context(), p, 1); err != nil {
			t.Fatal(err)
		}
	}
	if drained, err := l.Drained(t.Context(), s.Name()); err != nil || drained {
		t.Errorf("it is dead, which is told as having ended: %t, %v", drained, err)
	}
	// The first reply is lost: it is nobody's.
	lost := &Session{log: l, name: s.Name(), partitions: s.partitions, done: make(chan struct{}), asked: make(chan struct{}), timer: time.NewTimer(0)}
	if err := lost.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, s, false)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, s, true)
	if drained, err := l.Drained(t.Context(), s.Name()); err != nil || !drained {
		t.Errorf("it has ended, and that is told as %t, %v", drained, err)
	}
}

// The mark of a session that is dead goes when somebody sweeps an hour after it was made;
// that of one that lives stays.
func TestDrainMarksGo(t *testing.T) {
	l := newLog(t, testenv.Redis(t), 1)
	g := newGroup(t, l)
	early, late, alive := join(t, g, "blue", time.Hour).session, join(t, g, "red", time.Hour).session, join(t, g, "green", time.Hour)
	for _, s := range []*Session{early, late, alive.session} {
		if err := l.Drain(t.Context(), s.Name()); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Session{early, late} {
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.client.HSet(t.Context(), l.keys.Draining(0), early.Name(), "1000e", alive.session.Name(), "1000").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := alive.Sweep(t.Context(), 0, 1); err != nil {
		t.Fatal(err)
	}
	if marks(t, l, early.Name()) != 0 || marks(t, l, late.Name()) != 1 || marks(t, l, alive.session.Name()) != 1 {
		t.Error("the old mark of the dead is left, or another is not")
	}
}

// What a session gives back before its end others take over while it lives, and what it
// keeps it can settle; it is shown as one that drains, and nobody asked it.
func TestLeave(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 1)
		g := newGroup(t, l)
		leaving, other := join(t, g, "blue", time.Hour), join(t, g, "green", time.Hour)
		announce(t, l, "cart-1", "cart-2")
		b, err := leaving.Read(t.Context(), []int{0}, 10, -1)
		if err != nil || len(b.Pointers) != 2 {
			t.Fatalf("%+v, %v", b, err)
		}
		claims := ByStream(b.Pointers)
		if _, err := leaving.Claim(t.Context(), claims); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a reply may be lost
			if err := leaving.Leave(t.Context(), claims[:1]); err != nil {
				t.Fatal(err)
			}
		}
		woken, err := other.Read(t.Context(), []int{0}, 10, -1)
		if err != nil || !woken.Left || len(woken.Wake) != 1 {
			t.Errorf("others are told %+v, %v", woken, err)
		}
		swept, err := other.Sweep(t.Context(), 0, 10)
		if err != nil || len(swept.Pointers) != 1 || len(swept.Members) != 1 {
			t.Fatalf("others take over %+v, %v", swept, err)
		}
		claimed, err := other.Claim(t.Context(), ByStream(swept.Pointers))
		if err != nil || claimed[0].Verdict != Leased || claimed[0].Stream != claims[0].Stream {
			t.Errorf("others claim %+v, %v", claimed, err)
		}
		if err := leaving.session.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled, err := leaving.Settle(t.Context(), []Settlement{{Stream: claims[1].Stream, Version: 1, Pointers: claims[1].Pointers}})
		if err != nil || settled[0].Result != Done {
			t.Errorf("what it kept is %+v, %v", settled, err)
		}
		if live, err := l.Live(t.Context()); err != nil || len(live) != 2 || !live[0].Draining || live[1].Draining {
			t.Errorf("%+v, %v", live, err)
		}
		if err := leaving.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantAsked(t, leaving.session, false)
		if n := marks(t, l, leaving.session.Name()); n != 0 {
			t.Errorf("%d marks are left", n)
		}
	})
}

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// overLine returns a client of the shared Redis whose connections run over the
// line. It has one connection at a time, so that what is cut is what the test
// just sent.
func overLine(t *testing.T, line *faultconn.Line, change func(*redis.Options)) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer = line.Dialer(nil)
	options.PoolSize = 1
	change(options)
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// The settings of a client that repeats nothing by itself, and those a program
// gets that sets none.
var clientSettings = map[string]func(*redis.Options){
	"NoRetries":     func(o *redis.Options) { o.MaxRetries, o.Protocol, o.DisableIdentity = -1, 2, true },
	"ClientRetries": func(*redis.Options) {},
}

// The reply of an append is cut at every byte. The events are stored once, and
// the append says so.
func TestScenario19AppendCutAtEveryByte(t *testing.T) {
	for name, settings := range clientSettings {
		for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.NoStream, eventstore.Exact(0), eventstore.Exact(2)} {
			t.Run(name+"/"+expected.String(), func(t *testing.T) {
				t.Parallel()
				line := new(faultconn.Line)
				s := open(t, overLine(t, line, settings), Config{})
				mustAppend(t, s, cart("warm"), newEvent()) // the script is loaded
				length := 0
				for n, whole := 0, false; !whole; n++ {
					stream := cart(n)
					var before []eventstore.Event
					if expected != eventstore.NoStream && expected != eventstore.Exact(0) {
						before = newEvents(2)
						mustAppend(t, s, stream, before...)
					}
					events := newEvents(3)
					line.CutAfter(n, 1)
					at, err := s.Append(t.Context(), stream, expected, events...)
					// The reply came whole when its connection was still
					// good for it.
					whole = line.Cuts() == 0
					length = line.Delivered()
					line.CutAfter(0, 0)

					first := eventstore.Version(len(before)) + 1
					if err != nil || at.First != first || at.Last != first+2 {
						t.Errorf("cut at byte %d: got %+v, %v", n, at, err)
					}
					if whole && at.Duplicate {
						t.Errorf("cut at byte %d: a duplicate, though nothing was lost", n)
					}
					holds(t, s, stream, append(before, events...)...)
					if n > 1000 {
						t.Fatal("the reply never ends")
					}
				}
				if length < 10 {
					t.Errorf("the reply has %d bytes: that shows nothing", length)
				}
				whole(t, s)
			})
		}
	}
}

// The same with a call that many appends share, to many streams and to one.
func TestScenario19ManyAppendsCutAtEveryByte(t *testing.T) {
	t.Parallel()
	line := new(faultconn.Line)
	s := open(t, overLine(t, line, clientSettings["NoRetries"]), Config{Partitions: 1})
	mustAppend(t, s, cart("warm"), newEvent())
	for n, complete := 0, false; !complete; n++ {
		var appends []eventstore.StreamAppend
		var one []eventstore.Event
		for i := range 4 {
			appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint(n, i)), Expected: eventstore.NoStream, Events: newEvents(2)})
			one = append(one, newEvent())
			appends = append(appends, eventstore.StreamAppend{Stream: cart(n), Expected: eventstore.Any, Events: one[i:]})
		}
		appends = append(appends, eventstore.StreamAppend{Stream: cart("warm"), Expected: eventstore.NoStream, Events: newEvents(1)})
		line.CutAfter(n, 1)
		outcomes := s.AppendMany(t.Context(), appends)
		complete = line.Cuts() == 0
		line.CutAfter(0, 0)
		for i, o := range outcomes[:len(outcomes)-1] {
			if o.Err != nil {
				t.Errorf("cut at byte %d: append %d: %v", n, i, o.Err)
			}
			if i%2 == 0 {
				holds(t, s, appends[i].Stream, appends[i].Events...)
			}
		}
		conflict := new(eventstore.ConflictError)
		if err := outcomes[len(outcomes)-1].Err; !errors.As(err, &conflict) {
			t.Errorf("cut at byte %d: the append in conflict: %v", n, err)
		}
		holds(t, s, cart(n), one...)
	}
	whole(t, s)
}

// A call repeated because its reply was lost finds all its events, even where it
// appended more to a stream than LookBack.
func TestScenario19LargeCallCut(t *testing.T) {
	t.Parallel()
	line := new(faultconn.Line)
	s := open(t, overLine(t, line, clientSettings["NoRetries"]), Config{})
	mustAppend(t, s, cart("warm"), newEvent())
	stream := cart(1)
	events := newEvents(maxCallAppends)
	appends := make([]eventstore.StreamAppend, len(events))
	for i := range events {
		appends[i] = eventstore.StreamAppend{Stream: stream, Expected: eventstore.Any, Events: events[i : i+1]}
	}
	line.CutAfter(0, 1)
	for i, o := range s.AppendMany(t.Context(), appends) {
		if want := eventstore.Version(i + 1); o.Err != nil || o.First != want || !o.Duplicate {
			t.Fatalf("append %d: got %+v, want a duplicate at %d", i, o, want)
		}
	}
	holds(t, s, stream, events...)
	whole(t, s)
}

// When every reply is lost, the append says that it does not know. Repeating it
// finds out.
func TestScenario19EveryReplyLost(t *testing.T) {
	t.Parallel()
	line := new(faultconn.Line)
	s := open(t, overLine(t, line, clientSettings["NoRetries"]), Config{})
	mustAppend(t, s, cart("warm"), newEvent())
	for i, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.NoStream, eventstore.Exact(0)} {
		events := newEvents(2)
		line.CutAfter(0, 1000)
		_, err := s.Append(t.Context(), cart(i), expected, events...)
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "same event ids") {
			t.Errorf("%s: got %v", expected, err)
		}
		line.CutAfter(0, 0)
		at, err := s.Append(t.Context(), cart(i), expected, events...)
		if want := (eventstore.Appended{First: 1, Last: 2, Duplicate: true}); err != nil || at != want {
			t.Errorf("%s, again: got %+v, %v, want %+v", expected, at, err, want)
		}
		holds(t, s, cart(i), events...)
	}
	whole(t, s)
}

// Reads whose replies are cut yield every event once. The cuts are a few bytes
// apart, to save time; TestScenario19EntryReaderSplitAndCutAnywhere has them all.
func TestScenario22ReadCut(t *testing.T) {
	const apart = 11
	for name, settings := range clientSettings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := new(faultconn.Line)
			s := open(t, overLine(t, line, settings), Config{Partitions: 1})
			var reads []eventstore.StreamRead
			want := make(map[eventstore.StreamID][]eventstore.Event)
			for i := range 3 {
				stream := cart(i)
				want[stream] = newEvents(i + 1)
				mustAppend(t, s, stream, want[stream]...)
				reads = append(reads, eventstore.StreamRead{Stream: stream})
			}
			for n, complete := 0, false; !complete; n += apart {
				line.CutAfter(n, 1)
				got := make([][]eventstore.Event, len(reads))
				failed, err := s.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
					got[i] = append(got[i], e.Event)
					return nil
				})
				complete = line.Cuts() == 0
				if err != nil || failed != nil {
					t.Errorf("ReadMany cut at byte %d: %v, %v", n, failed, err)
				}
				for i := range reads {
					if !slices.EqualFunc(got[i], want[reads[i].Stream], func(a, b eventstore.Event) bool { return a.ID == b.ID }) {
						t.Fatalf("ReadMany cut at byte %d: %d events of %s, want %d", n, len(got[i]), reads[i].Stream, len(want[reads[i].Stream]))
					}
				}
			}
			for n, complete := 0, false; !complete; n += apart {
				line.CutAfter(n, 1)
				holds(t, s, cart(2), want[cart(2)]...)
				complete = line.Cuts() == 0
			}
			for n, complete := 0, false; !complete; n += apart {
				line.CutAfter(n, 1)
				if head, err := s.Head(t.Context(), cart(2)); head != 3 || err != nil {
					t.Errorf("Head cut at byte %d: %d, %v", n, head, err)
				}
				listed := make(map[eventstore.StreamID]int)
				for h, err := range s.Streams(t.Context(), "cart") {
					if err != nil {
						t.Errorf("Streams cut at byte %d: %v", n, err)
					}
					listed[h.Stream]++
				}
				if len(listed) != 3 || listed[cart(0)] != 1 || listed[cart(1)] != 1 || listed[cart(2)] != 1 {
					t.Errorf("Streams cut at byte %d: %v", n, listed)
				}
				complete = line.Cuts() == 0
			}
		})
	}
}

// A visit that does not return keeps the only connection there may be from nobody, once
// the context has ended, and the event that it was given stays as it is.
func TestVisitHangs(t *testing.T) {
	t.Parallel()
	client := overLine(t, new(faultconn.Line), func(o *redis.Options) { o.PoolTimeout = waitLong })
	s := open(t, client, Config{Partitions: 1})
	given, other := newEvents(2), newEvents(200)
	for i := range other {
		other[i].Data = []byte{0xc0}
	}
	mustAppend(t, s, cart("given"), given...)
	mustAppend(t, s, cart("other"), other...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	visiting, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	var visits atomic.Int64
	go func() {
		_, err := s.ReadMany(ctx, []eventstore.StreamRead{{Stream: cart("given")}}, func(_ int, e *eventstore.Recorded) error {
			if visits.Add(1) == 1 {
				close(visiting)
				<-release
				if e.ID != given[0].ID || !slices.Equal(e.Data, given[0].Data) {
					t.Errorf("the event has become %s with %x", e.ID, e.Data)
				}
			}
			return errors.New("abandoned")
		})
		done <- err
	}()
	<-visiting
	cancel()
	bounded, stop := context.WithTimeout(t.Context(), waitLong)
	defer stop()
	for range 3 {
		n := 0
		failed, err := s.ReadMany(bounded, []eventstore.StreamRead{{Stream: cart("other")}}, func(int, *eventstore.Recorded) error {
			n++
			return nil
		})
		if failed != nil || err != nil || n != len(other) {
			t.Errorf("read %d events, %v, %v", n, failed, err)
		}
	}
	close(release)
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the read that was left behind: %v", err)
	}
	holds(t, s, cart("given"), given...)
}

// lossyConn is a connection that breaks while a command is being written: the
// server gets the first bytes of it and no more.
type lossyConn struct {
	net.Conn
	left *atomic.Int64 // bytes until it breaks, negative for never
}

func (c lossyConn) Write(p []byte) (int, error) {
	if left := c.left.Load(); left >= 0 && left < int64(len(p)) {
		c.left.Store(-1) // the next connection holds
		c.Conn.Write(p[:left])
		c.Conn.Close()
		return int(left), &net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}
	}
	return c.Conn.Write(p)
}

// The connection breaks while the append is being sent: the server has half a
// command, and does nothing of it.
func TestScenario21ConnectionClosedMidway(t *testing.T) {
	t.Parallel()
	var left atomic.Int64
	left.Store(-1)
	client := overLine(t, new(faultconn.Line), func(o *redis.Options) {
		clientSettings["NoRetries"](o)
		dial := o.Dialer
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return lossyConn{conn, &left}, err
		}
	})
	s := open(t, client, Config{Partitions: 1})
	mustAppend(t, s, cart("warm"), newEvent())
	for n := range 40 {
		appends := []eventstore.StreamAppend{
			{Stream: cart(fmt.Sprint("a", n)), Expected: eventstore.NoStream, Events: newEvents(2)},
			{Stream: cart(fmt.Sprint("b", n)), Expected: eventstore.Any, Events: newEvents(2)},
		}
		left.Store(int64(n * 23))
		for i, o := range s.AppendMany(t.Context(), appends) {
			if o.Err != nil || o.Duplicate || o.Last != 2 {
				t.Errorf("broken at byte %d: got %+v", n*23, o)
			}
			holds(t, s, appends[i].Stream, appends[i].Events...)
		}
		if left.Load() >= 0 {
			if n < 20 {
				t.Fatalf("the command has less than %d bytes", n*23)
			}
			break
		}
	}
	whole(t, s)
}

// gate is a hook that holds script calls back until it is opened.
type gate struct {
	arrived chan struct{} // a call waits
	open    chan struct{}
	calls   atomic.Int64
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			g.calls.Add(1)
			select {
			case g.arrived <- struct{}{}:
			default:
			}
			<-g.open
		}
		return next(ctx, cmd)
	}
}

// newGate returns a store whose script calls wait at a gate from now on.
func newGate(t *testing.T) (*Store, *gate) {
	client := testenv.Redis(t)
	s := open(t, client, Config{Partitions: 1})
	mustAppend(t, s, cart("warm"), newEvent())
	g := &gate{arrived: make(chan struct{}, 1), open: make(chan struct{})}
	client.AddHook(g)
	return s, g
}

// appending starts an append and returns where its error will be.
func appending(ctx context.Context, s *Store, stream eventstore.StreamID, events ...eventstore.Event) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, stream, eventstore.Any, events...)
		done <- err
	}()
	return done
}

func (s *Store) queued(partition int) int {
	q := &s.queues[partition]
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func TestContextEndsWhileQueued(t *testing.T) {
	t.Parallel()
	s, g := newGate(t)
	first := newEvent()
	firstDone := appending(t.Context(), s, cart("first"), first)
	<-g.arrived

	ctx, cancel := context.WithCancel(t.Context())
	done := appending(ctx, s, cart("withdrawn"), newEvent())
	other := newEvent()
	otherDone := appending(t.Context(), s, cart("other"), other)
	testenv.Wait(t, waitLong, func() error {
		if n := s.queued(0); n != 2 {
			return fmt.Errorf("%d appends are queued", n)
		}
		return nil
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("the append that was withdrawn: %v", err)
	}
	close(g.open)
	if err := errors.Join(<-firstDone, <-otherDone); err != nil {
		t.Error(err)
	}
	holds(t, s, cart("first"), first)
	holds(t, s, cart("other"), other)
	holds(t, s, cart("withdrawn"))
	whole(t, s)
}

func TestContextEndsInFlight(t *testing.T) {
	t.Parallel()
	s, g := newGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	e, other := newEvent(), newEvent()
	done := appending(ctx, s, cart(1), e)
	<-g.arrived
	otherDone := appending(t.Context(), s, cart(2), other)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	close(g.open)
	// It serves its own callers: one that leaves takes nobody along.
	if err := <-otherDone; err != nil {
		t.Error(err)
	}
	at, err := s.Append(t.Context(), cart(1), eventstore.Any, e)
	if want := (eventstore.Appended{First: 1, Last: 1, Duplicate: true}); err != nil || at != want {
		t.Errorf("again: got %+v, %v, want %+v", at, err, want)
	}
	holds(t, s, cart(1), e)
	holds(t, s, cart(2), other)
	whole(t, s)
}

// AppendMany goes by its own context, and says of what was sent that it does not
// know.
func TestContextEndsInAppendMany(t *testing.T) {
	t.Parallel()
	line := new(faultconn.Line)
	s := open(t, overLine(t, line, clientSettings["NoRetries"]), Config{Partitions: 1})
	mustAppend(t, s, cart("warm"), newEvent())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	appends := []eventstore.StreamAppend{{Stream: cart(1), Expected: eventstore.NoStream, Events: newEvents(2)}}
	line.CutAfter(0, 1000)
	outcomes := make(chan []eventstore.Outcome)
	go func() { outcomes <- s.AppendMany(ctx, appends) }()
	testenv.Wait(t, waitLong, func() error {
		if line.Cuts() == 0 {
			return errors.New("nothing was cut")
		}
		return nil
	})
	cancel()
	if o := <-outcomes; !errors.Is(o[0].Err, eventstore.ErrOutcomeUnknown) || !errors.Is(o[0].Err, context.Canceled) {
		t.Errorf("got %+v", o)
	}
	line.CutAfter(0, 0)
	if o := s.AppendMany(t.Context(), appends); o[0].Err != nil || !o[0].Duplicate {
		t.Errorf("again: got %+v", o)
	}
	whole(t, s)
}

// Appends that arrive while a call is under way share the next one, and each
// gets its own outcome.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	s, g := newGate(t)
	held := newEvent()
	heldDone := appending(t.Context(), s, cart("held"), held)
	<-g.arrived

	const callers = 64
	events := newEvents(callers)
	appended := make([]eventstore.Appended, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			// Every fourth is in conflict with the stream that is there.
			stream, expected := cart(i), eventstore.NoStream
			if i%4 == 0 {
				stream = cart("warm")
			}
			appended[i], errs[i] = s.Append(t.Context(), stream, expected, events[i])
		})
	}
	testenv.Wait(t, waitLong, func() error {
		if n := s.queued(0); n != callers {
			return fmt.Errorf("%d appends are queued", n)
		}
		return nil
	})
	close(g.open)
	wg.Wait()
	if err := <-heldDone; err != nil {
		t.Error(err)
	}
	for i := range callers {
		if i%4 == 0 {
			conflict := new(eventstore.ConflictError)
			if !errors.As(errs[i], &conflict) || conflict.Stream != cart("warm") || conflict.Actual != 1 {
				t.Errorf("caller %d: got %v, want a conflict", i, errs[i])
			}
			continue
		}
		if want := (eventstore.Appended{First: 1, Last: 1}); errs[i] != nil || appended[i] != want {
			t.Errorf("caller %d: got %+v, %v", i, appended[i], errs[i])
		}
		holds(t, s, cart(i), events[i])
	}
	if n := g.calls.Load(); n != 2 {
		t.Errorf("%d script calls for the append held back and the %d behind it", n, callers)
	}
	whole(t, s)
}

// Without anything holding them back, too, many callers need few calls.
func TestGroupCommitUnderLoad(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t)
	s := open(t, client, Config{Partitions: 1})
	mustAppend(t, s, cart("warm"), newEvent())
	g := &gate{open: make(chan struct{})}
	close(g.open)
	client.AddHook(g)
	const callers, each = 64, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				at, err := s.Append(t.Context(), cart(c), eventstore.Exact(eventstore.Version(i)), newEvent())
				if err != nil || at.Last != eventstore.Version(i+1) || at.Duplicate {
					t.Errorf("caller %d, append %d: got %+v, %v", c, i, at, err)
				}
			}
		})
	}
	wg.Wait()
	if n := g.calls.Load(); n > callers*each/4 {
		t.Errorf("%d script calls for %d appends", n, callers*each)
	}
	whole(t, s)
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/internal/testenv"
)

// yielding yields streams whose heads are their places, from 1.
func yielding(names []string) iter.Seq2[Head, error] {
	return func(yield func(Head, error) bool) {
		for i, name := range names {
			if !yield(Head{Stream: name, Head: uint64(i + 1)}, nil) {
				return
			}
		}
	}
}

func fillAll(tb testing.TB, b *Backfill, names []string) {
	tb.Helper()
	if err := b.Fill(tb.Context(), yielding(names)); err != nil {
		tb.Fatal(err)
	}
}

func newBackfill(tb testing.TB, client redis.UniversalClient) *Backfill {
	tb.Helper()
	l := newLog(tb, client, 4)
	return l.Backfill(newGroup(tb, l).name)
}

func builder(tb testing.TB, b *Backfill, worker string, ttl time.Duration) *Builder {
	tb.Helper()
	s, err := b.log.Register(tb.Context(), SessionConfig{Worker: worker, TTL: ttl})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.end(ErrStopped) })
	return b.Join(s)
}

func nothingKnown(string) bool { return false }

func take(tb testing.TB, b *Builder, partition int, known func(string) bool) *Chunk {
	tb.Helper()
	c, err := b.Take(tb.Context(), partition, known)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestBackfill(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := newBackfill(t, client)
		me := builder(t, b, "a", time.Minute)
		for p := range b.log.Partitions() {
			if c := take(t, me, p, nothingKnown); c != nil {
				t.Fatalf("got %v from a backfill that is not filled", c)
			}
		}
		names := carts(5000)
		fillAll(t, b, names)
		fillAll(t, b, names) // changes nothing
		progress := func() Progress {
			t.Helper()
			p, err := b.Progress(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if p := progress(); p.Filled != 4 || p.Partitions != 4 || p.Streams != 5000 || p.StreamsDone != 0 || p.Chunks == 0 || p.Done() {
			t.Errorf("the progress is %+v", p)
		}
		var got []string
		for p := range b.log.Partitions() {
			for {
				c := take(t, me, p, nothingKnown)
				if c == nil {
					break
				}
				if len(c.Heads) > chunkStreams || len(c.Heads) > 1 && c.Events() > chunkEvents {
					t.Errorf("a chunk has %d streams and %d events", len(c.Heads), c.Events())
				}
				for _, h := range c.Heads {
					got = append(got, h.Stream)
				}
				for _, want := range []bool{true, false} {
					if was, err := me.Done(t.Context(), c); was != want || err != nil {
						t.Errorf("Done = %t, %v", was, err)
					}
				}
			}
		}
		slices.Sort(got)
		slices.Sort(names)
		if !slices.Equal(got, names) {
			t.Errorf("%d streams were handed out of %d", len(got), len(names))
		}
		p := progress()
		if !p.Done() || p.StreamsDone != 5000 || p.EventsDone != p.Events || p.Events == 0 {
			t.Errorf("the progress is %+v", p)
		}
		by := uint64(0)
		for _, n := range p.Workers {
			by += n
		}
		if by != p.Events || len(p.Workers) == 0 {
			t.Errorf("%d events were done by %v", p.Events, p.Workers)
		}
		if err := b.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := progress(); p.Filled+p.Chunks+len(p.Workers) > 0 || p.Events+p.Streams > 0 {
			t.Errorf("the progress is %+v", p)
		}
	})
}

// A chunk goes to one session at a time, and from a dead one to another. One that was
// given in a reply that was lost comes again.
func TestBackfillTakenOver(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := newBackfill(t, client)
		dying, other := builder(t, b, "a", 300*time.Millisecond), builder(t, b, "b", time.Minute)
		fillAll(t, b, []string{"cart-1"})
		p := b.log.keys.Partition("cart-1")
		dead := builder(t, b, "c", time.Minute)
		client.HDel(t.Context(), b.log.keys.Sessions(p), dead.session.name)
		if early, err := dead.Take(t.Context(), p, nothingKnown); !errors.Is(err, ErrFenced) {
			t.Errorf("a dead session: Take = %v, %v", early, err)
		}
		c := take(t, dying, p, nothingKnown)
		if c == nil {
			t.Fatal("got nothing")
		}
		if again := take(t, dying, p, nothingKnown); again == nil || again.ID != c.ID {
			t.Errorf("got %v again; want %v", again, c)
		}
		if again := take(t, dying, p, func(id string) bool { return id == c.ID }); again != nil {
			t.Errorf("got %v besides what is known", again)
		}
		if early := take(t, other, p, nothingKnown); early != nil {
			t.Errorf("got %v, which a session that lives has", early)
		}
		if was, err := other.Done(t.Context(), c); was || err != nil {
			t.Errorf("somebody else's: Done = %t, %v", was, err)
		}
		var over *Chunk
		testenv.Wait(t, waitLong, func() error {
			if over = take(t, other, p, nothingKnown); over == nil {
				return errors.New("the chunk of a dead session is not taken over")
			}
			return nil
		})
		if over.ID != c.ID {
			t.Errorf("took over %v; want %v", over, c)
		}
		if _, err := dying.Done(t.Context(), c); !errors.Is(err, ErrFenced) {
			t.Errorf("of a dead session: Done = %v", err)
		}
		if was, err := other.Done(t.Context(), over); !was || err != nil {
			t.Errorf("Done = %t, %v", was, err)
		}
	})
}

// Who fills begins at the beginning, whatever somebody left who did not come to the
// end, and of two who fill at once one goes on.
func TestBackfillFilledAgain(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 1)
		b := l.Backfill(newGroup(t, l).name)
		me := builder(t, b, "a", time.Minute)
		names := carts(3 * chunkStreams)
		stopped := errors.New("on purpose")
		err := b.Fill(t.Context(), func(yield func(Head, error) bool) {
			for _, name := range names[:2*chunkStreams] {
				if !yield(Head{Stream: name, Head: 1}, nil) {
					return
				}
			}
			yield(Head{}, stopped)
		})
		if !errors.Is(err, stopped) {
			t.Fatal(err)
		}
		if c := take(t, me, 0, nothingKnown); c != nil {
			t.Errorf("got %v from a backfill that is not filled", c)
		}
		// Somebody else comes in between.
		err = b.Fill(t.Context(), func(yield func(Head, error) bool) {
			for i, name := range names {
				if i == chunkStreams+1 {
					if err := b.Fill(context.WithoutCancel(t.Context()), yielding(names)); err != nil {
						t.Error(err)
					}
				}
				if !yield(Head{Stream: name, Head: 1}, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Errorf("filling what was filled meanwhile: %v", err)
		}
		seen := make(map[string]int)
		for {
			c := take(t, me, 0, nothingKnown)
			if c == nil {
				break
			}
			for _, h := range c.Heads {
				seen[h.Stream]++
			}
			if was, err := me.Done(t.Context(), c); !was || err != nil {
				t.Fatal(was, err)
			}
		}
		for _, name := range names {
			if seen[name] != 1 {
				t.Fatalf("%s was handed out %d times", name, seen[name])
			}
		}
		if len(seen) != len(names) {
			t.Errorf("%d streams", len(seen))
		}
		p, err := b.Progress(t.Context())
		if err != nil || p.Streams != uint64(len(names)) || p.StreamsDone != p.Streams {
			t.Errorf("the progress is %+v, %v", p, err)
		}
	})
}

// The one that began last goes on; the other one is told.
func TestBackfillFilledByTwo(t *testing.T) {
	t.Parallel()
	l := newLog(t, testenv.Redis(t), 1)
	b := l.Backfill(newGroup(t, l).name)
	names := carts(3 * chunkStreams)
	var second error
	first := b.Fill(t.Context(), func(yield func(Head, error) bool) {
		for i, name := range names {
			if i == chunkStreams+1 {
				second = b.Fill(t.Context(), func(yield func(Head, error) bool) { yield(Head{}, fmt.Errorf("on purpose")) })
			}
			if !yield(Head{Stream: name, Head: 1}, nil) {
				return
			}
		}
	})
	if !errors.Is(first, ErrFilling) || second == nil {
		t.Errorf("the first: %v, the second: %v", first, second)
	}
	if p, err := b.Progress(t.Context()); err != nil || p.Filled != 0 || p.Chunks != 0 {
		t.Errorf("the progress is %+v, %v", p, err)
	}
}

// Each call to fill a partition may come a second time, long after the next ones.
func TestBackfillCallsComeLate(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 1)
		b := l.Backfill(newGroup(t, l).name)
		me := filling{Backfill: b, me: "me"}
		add := func(number int) []any { return []any{number, "chunk", 10, 20} }
		call := func(f filling, before bool, what string, args ...any) {
			t.Helper()
			filled, err := f.call(t.Context(), 0, what, args...)
			if before != filled && what != "end" || err != nil {
				t.Errorf("%s: %t, %v", what, filled, err)
			}
		}
		want := func(chunks, filled int) {
			t.Helper()
			p, err := b.Progress(t.Context())
			if err != nil || p.Chunks != chunks || p.Streams != uint64(10*chunks) || p.Events != uint64(20*chunks) || p.Filled != filled {
				t.Errorf("the progress is %+v, %v; want %d chunks", p, err, chunks)
			}
		}
		refuse := func(f filling, what string, args ...any) {
			t.Helper()
			if _, err := f.call(t.Context(), 0, what, args...); !errors.Is(err, ErrFilling) {
				t.Errorf("%s: %v", what, err)
			}
		}
		call(me, false, "begin")
		call(me, false, "add", add(1)...)
		call(me, false, "begin")
		want(1, 0)
		call(me, false, "add", add(2)...)
		call(me, false, "add", add(1)...)
		want(2, 0)

		// Another one begins, and what the first has sent comes late.
		other := filling{Backfill: b, me: "other"}
		call(other, false, "begin")
		refuse(me, "add", add(2)...)
		refuse(me, "end", 2)
		call(other, false, "add", add(1)...)
		want(1, 0)
		call(me, false, "begin")
		refuse(other, "add", add(2)...)
		refuse(me, "add", add(3)...) // the first two are gone
		refuse(me, "end", 2)
		want(0, 0)

		call(other, false, "begin")
		for n := range 3 {
			call(other, false, "add", add(n+1)...)
		}
		call(other, false, "end", 3)
		for _, f := range []filling{me, other} {
			call(f, true, "begin")
			call(f, true, "add", add(1)...)
			call(f, true, "add", add(4)...)
			call(f, true, "end", 3)
			want(3, 1)
		}
	})
}

// However many ask, no more is begun than the rate allows, and not much less.
func TestThrottle(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := newBackfill(t, client)
		var all errgroup.Group
		start := time.Now()
		for range 8 {
			all.Go(func() error {
				for range 5 {
					for {
						wait, err := b.Throttle(t.Context(), 20, 1000)
						if err != nil {
							return err
						}
						if wait == 0 {
							break
						}
						<-time.After(wait)
					}
				}
				return nil
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		// 39 times 20 ms lie before the last of them, and the first may be said to be late.
		if took := time.Since(start); took < 39*20*time.Millisecond-throttleLate || took > 2*time.Second {
			t.Errorf("800 events at 1000 a second took %s", took)
		}
	})
}

// Who asks and does not come again keeps nobody waiting, and of work that was begun and
// may never be done others wait for a second's worth.
func TestThrottleForgetsWhoGoes(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := newBackfill(t, client)
		ask := func(least, most time.Duration) {
			t.Helper()
			wait, err := b.Throttle(t.Context(), 1_000_000, 100)
			if err != nil || wait < least || wait > most {
				t.Errorf("Throttle = %s, %v; want %s to %s", wait, err, least, most)
			}
		}
		ask(0, 0)
		for range 10 {
			ask(time.Millisecond, throttleAhead)
		}
		// Once it is done it counts.
		if err := b.Spend(t.Context(), 1_000_000, 100); err != nil {
			t.Fatal(err)
		}
		ask(9990*time.Second, 10_000*time.Second)
		if err := b.Spend(t.Context(), 100, 100); err != nil {
			t.Fatal(err)
		}
		ask(9990*time.Second, 10_000*time.Second)
	})
}

package projector_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// asked is a sink that counts the checkpoints it is asked for.
type asked struct {
	projector.Sink
	n atomic.Int64
}

func (s *asked) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	s.n.Add(int64(len(keys)))
	return s.Sink.Checkpoints(ctx, g, keys)
}

// A worker that has the state of a stream goes on from there without asking the sink, and
// where the document is another one by now, that is made right.
func TestGoesOnFromKeptStates(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	sink, tells := &asked{Sink: f.sink}, new(watcher)
	f.start("w", through(sink), observed(tells))
	h := make(history)
	h.append(f, 1, 1)
	h.wait(f)
	f.settled()
	before := sink.n.Load()
	h.append(f, 1, 2)
	h.wait(f)
	f.settled()
	if n := sink.n.Load() - before; n != 0 {
		t.Errorf("the sink was asked for %d checkpoints; the state was kept", n)
	}

	// Somebody deletes the document, and later the stream grows.
	key := keyspace.Document(f.store.Namespace()+":totals", 1, cart(1).ID())
	if n, err := f.client.Del(t.Context(), key).Result(); n != 1 || err != nil {
		t.Fatalf("deleting %s: %d, %v", key, n, err)
	}
	h.append(f, 1, 4)
	h.wait(f)
	f.settled()
	if told := seen[projector.Conflict](tells); len(told) != 0 {
		t.Errorf("of a state that was too old was told %+v", told)
	}

	// It is deleted again, and the stream is announced as it is.
	if err := f.client.Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
	if err := f.log().Announce(t.Context(), []string{cart(1).String()}); err != nil {
		t.Fatal(err)
	}
	h.wait(f)
	f.settled()
}

// hasty is a store that leaves an event out of a read, as one of a stream that somebody
// changes may.
type hasty struct {
	eventstore.Reader
	without atomic.Uint64 // version of the event that the next read is without
}

func (s *hasty) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	without := s.without.Swap(0)
	return s.Reader.ReadMany(ctx, reads, func(i int, r *eventstore.Recorded) error {
		if uint64(r.Version) == without {
			return nil
		}
		return visit(i, r)
	})
}

// What was wrong with a stream before it was claimed is no reason to park it.
func TestNotParkedForWhatWasReadAhead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	store := &hasty{Reader: f.store}
	h := make(history)
	h.append(f, 1, 1, 2)
	f.start("w", func(c *projector.WorkerConfig) { c.Store, c.Attempts = store, 1 })
	h.wait(f)
	f.settled()
	store.without.Store(3)
	h.append(f, 1, 3, 4)
	h.wait(f)
	f.parked(0)
	f.settled()
	if store.without.Load() != 0 {
		t.Error("nothing was read")
	}
}

// Of a stream that is parked nothing is folded, whatever is appended to it: what hung or
// failed would do so again in every worker that hears of it.
func TestParkedStreamsAreNotFolded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	var folds atomic.Int64
	f.p = newTotals(func(s *total, a added) {
		folds.Add(1)
		s.add(a.Qty)
	})
	f.start("w", func(c *projector.WorkerConfig) { c.Attempts = 1 })
	f.append(cart(1), 1, 2)
	h := make(history)
	h.append(f, 2, 1)
	h.wait(f)
	f.append(cart(1), -1)
	f.parked(1)
	f.settled()
	before := folds.Load()
	for range 8 {
		f.append(cart(1), 1)
		f.settled()
	}
	if n := folds.Load() - before; n != 0 {
		t.Errorf("%d events were folded of a stream that is parked", n)
	}
}

package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
)

// Config configures [Import]. The zero value is ready.
type Config struct {
	// Batch is how many facts one call of the store takes. Larger batches
	// hold more neighbours of one cart, which are appended together.
	// Defaults to 8192; at most [eventstore.MaxAppendEvents].
	Batch int
	// Lanes is how many calls are under way at a time. Defaults to 4.
	Lanes int
	// Progress, where not nil, is called after every call of the store with
	// how many facts have been settled by it. Calls overlap.
	Progress func(settled int)
	// BadLine is asked what to do about a line that makes no sense: nil
	// skips it, an error stops the import. By default the first one stops.
	BadLine func(*LineError) error
}

// Result says what an import did.
type Result struct {
	// Carts is how many carts the facts concern.
	Carts int
	// Added is how many events were appended, Present how many were there
	// from an earlier import.
	Added, Present int
}

var (
	// ErrOtherEvents means that a cart has events that an import of these facts did
	// not write.
	ErrOtherEvents = errors.New("other events are there")
	// ErrEnded means that a cart was deleted, and facts of it are still to come.
	ErrEnded = errors.New("the cart was deleted")
)

// Import appends facts to the streams of their carts, those of one cart in their
// order. Doing it again adds nothing, and after an interruption goes on where it
// stopped: an event's id follows from its cart and its place there. Events that were
// there and have been removed since, see [eventstore.Remover], count as present.
//
// It stops at the first error, and appends nothing that comes after it in the
// cart concerned. The result counts what was settled until then.
func Import(ctx context.Context, store eventstore.Store, facts iter.Seq2[Fact, error], config Config) (Result, error) {
	if config.Batch == 0 {
		config.Batch = 8192
	}
	config.Batch = min(config.Batch, eventstore.MaxAppendEvents)
	if config.Lanes == 0 {
		config.Lanes = 4
	}
	if config.BadLine == nil {
		config.BadLine = func(e *LineError) error { return e }
	}
	group, ctx := errgroup.WithContext(ctx)
	lanes := make([]*lane, config.Lanes)
	for i := range lanes {
		lanes[i] = &lane{store: store, events: shop.Define().Registry(), batches: make(chan []placed), progress: config.Progress}
		group.Go(func() error { return lanes[i].run(ctx) })
	}
	d := &dealer{lanes: lanes, batch: config.Batch, carts: make(map[string]eventstore.Version)}
	err := d.deal(ctx, facts, config.BadLine)
	for _, l := range lanes {
		close(l.batches)
	}
	// Where a lane failed, dealing stopped because of that.
	if laneErr := group.Wait(); laneErr != nil {
		err = laneErr
	}
	result := Result{Carts: len(d.carts)}
	for _, l := range lanes {
		result.Added += l.added
		result.Present += l.present
	}
	return result, err
}

// placed is a fact with its place in its cart's stream.
type placed struct {
	Fact
	version eventstore.Version
}

// dealer gives every fact its place and deals them out to the lanes. A cart
// always goes to the same one, so that its events never race.
type dealer struct {
	lanes []*lane
	batch int
	carts map[string]eventstore.Version // how many facts of each cart there were
}

func (d *dealer) deal(ctx context.Context, facts iter.Seq2[Fact, error], badLine func(*LineError) error) error {
	waiting := make([][]placed, len(d.lanes))
	send := func(i int) error {
		select {
		case d.lanes[i].batches <- waiting[i]:
			waiting[i] = nil
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for f, err := range facts {
		if bad := new(LineError); errors.As(err, &bad) {
			if err := badLine(bad); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		d.carts[f.Cart]++
		i := int(xxhash.Sum64String(f.Cart) % uint64(len(d.lanes)))
		if waiting[i] == nil {
			waiting[i] = make([]placed, 0, d.batch)
		}
		waiting[i] = append(waiting[i], placed{Fact: f, version: d.carts[f.Cart]})
		if len(waiting[i]) == d.batch {
			if err := send(i); err != nil {
				return err
			}
		}
	}
	for i := range waiting {
		if len(waiting[i]) > 0 {
			if err := send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// lane appends batch after batch.
type lane struct {
	store    eventstore.Store
	events   *eventstore.Registry
	batches  chan []placed
	progress func(int)

	// Read them after run has returned.
	added, present int
}

func (l *lane) run(ctx context.Context) error {
	for batch := range l.batches {
		appends, err := l.appends(batch)
		if err != nil {
			return err
		}
		settled := l.added + l.present
		if err := l.append(ctx, appends); err != nil {
			return err
		}
		if l.progress != nil {
			l.progress(l.added + l.present - settled)
		}
	}
	return nil
}

// appends makes one append per cart out of a batch.
func (l *lane) appends(batch []placed) ([]eventstore.StreamAppend, error) {
	var appends []eventstore.StreamAppend
	where := make(map[string]int)
	for i := range batch {
		f := &batch[i]
		at, found := where[f.Cart]
		if !found {
			stream, err := eventstore.NewStreamID(shop.Category, f.Cart)
			if err != nil {
				return nil, err
			}
			at = len(appends)
			where[f.Cart] = at
			appends = append(appends, eventstore.StreamAppend{Stream: stream, Expected: eventstore.Exact(f.version - 1)})
		}
		e, err := l.events.Encode(f.value())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", f.Line, err)
		}
		e.ID, e.Time = eventID(f.Cart, f.version), f.Time
		appends[at].Events = append(appends[at].Events, e)
	}
	return appends, nil
}

// idSpace is the name space of the ids, made up once. Other ids would make
// another history of what was imported before.
var idSpace = uuid.MustParse("5b0a63c1-3f0e-4a52-9a3e-7d1f0c6f2b84")

// eventID returns the id of the event at a place in a cart: a version 5 UUID.
func eventID(cart string, version eventstore.Version) uuid.UUID {
	name := make([]byte, 0, len(cart)+21)
	name = append(append(name, cart...), '\n')
	return uuid.NewSHA1(idSpace, strconv.AppendUint(name, uint64(version), 10))
}

// append appends and counts.
func (l *lane) append(ctx context.Context, appends []eventstore.StreamAppend) error {
	var failed error
	for i, o := range l.store.AppendMany(ctx, appends) {
		switch {
		case o.Err != nil:
			// The others of the call count nevertheless.
			if err := l.resolve(ctx, appends[i], o.Err); err != nil && failed == nil {
				failed = err
			}
		case o.Duplicate:
			l.present += len(appends[i].Events)
		default:
			l.added += len(appends[i].Events)
		}
	}
	return failed
}

// resolve deals with an append that failed. An earlier import may have ended
// within it: then its first events are there, and the others are appended.
func (l *lane) resolve(ctx context.Context, a eventstore.StreamAppend, err error) error {
	conflict := new(eventstore.ConflictError)
	if !errors.As(err, &conflict) && !errors.Is(err, eventstore.ErrTombstoned) {
		return err
	}
	first := eventstore.Version(a.Expected) + 1
	there := int(conflict.Actual) - int(a.Expected)
	switch {
	case conflict.Stream.IsZero(): // it is tombstoned
	case there < 0:
		return fmt.Errorf("cart %s ends at version %d, but version %d was there a moment ago: %w", a.Stream.ID(), conflict.Actual, a.Expected, err)
	case there > 0 && there < len(a.Events):
		head, tail := a, a
		head.Events = a.Events[:there]
		tail.Events, tail.Expected = a.Events[there:], eventstore.Exact(conflict.Actual)
		if err := l.append(ctx, []eventstore.StreamAppend{head}); err != nil {
			return err
		}
		return l.append(ctx, []eventstore.StreamAppend{tail})
	}
	want := first
	for e, err := range l.store.Read(ctx, a.Stream, eventstore.Range{From: first, Limit: len(a.Events)}) {
		if cut := new(eventstore.TruncatedError); errors.As(err, &cut) && cut.First > first {
			return l.behind(ctx, a, cut.First)
		}
		if err != nil {
			return err
		}
		if e.EndsStream() && e.Version > want && want == first {
			return l.behind(ctx, a, e.Version)
		}
		if e.EndsStream() {
			return fmt.Errorf("cart %s: %w at version %d, and the facts go on: import into another namespace", a.Stream.ID(), ErrEnded, e.Version)
		}
		if e.Version != want {
			return fmt.Errorf("cart %s, version %d: %w: the store lost an event, which an import cannot bring back; import into another namespace", a.Stream.ID(), want, eventstore.ErrHole)
		}
		if e.ID != a.Events[e.Version-first].ID {
			return fmt.Errorf("cart %s, version %d: %w: event %s of type %s was not imported from this file; import into another namespace", a.Stream.ID(), e.Version, ErrOtherEvents, e.ID, e.Type)
		}
		want++
	}
	return err
}

// behind appends what comes behind events that were removed. They were there: a stream
// loses only its beginning.
func (l *lane) behind(ctx context.Context, a eventstore.StreamAppend, first eventstore.Version) error {
	gone := min(int(first-eventstore.Version(a.Expected)-1), len(a.Events))
	l.present += gone
	if a.Events = a.Events[gone:]; len(a.Events) == 0 {
		return nil
	}
	a.Expected = eventstore.Exact(first - 1)
	return l.append(ctx, []eventstore.StreamAppend{a})
}

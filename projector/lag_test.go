package projector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// lag measures the lag of the fixture's projection.
func (f *fixture) lag() projector.Lag {
	f.Helper()
	l, err := projector.MeasureLag(f.Context(), f.log(), projector.Assignment{Projection: f.p, Sink: f.sink})
	if err != nil {
		f.Fatal(err)
	}
	return l
}

// wantLag checks an exact lag.
func (f *fixture) wantLag(pointers, events int) {
	f.Helper()
	l := f.lag()
	if l.Pointers != pointers || l.Events != events || l.Estimated || l.Oldest > 0 && pointers == 0 {
		f.Errorf("the lag is %+v; want %d pointers, %d events", l, pointers, events)
	}
}

// startGroup creates the consumer group of the fixture's projection.
func (f *fixture) startGroup() *lease.Group {
	f.Helper()
	g, err := f.log().Group(f.Context(), "totals@1")
	if err != nil {
		f.Fatal(err)
	}
	return g
}

// appendMany appends some events to each of n carts, several at a time.
func (f *fixture) appendMany(n int, quantities ...int64) {
	f.Helper()
	var appends errgroup.Group
	appends.SetLimit(64)
	for i := range n {
		appends.Go(func() error {
			events := make([]eventstore.Event, len(quantities))
			for k, q := range quantities {
				events[k] = event("added", added{q})
			}
			_, err := f.store.Append(f.Context(), cart(i), eventstore.Any, events...)
			return err
		})
	}
	if err := appends.Wait(); err != nil {
		f.Fatal(err)
	}
}

func TestMeasureLag(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		f.append(cart(0), 1)
		_, err := projector.MeasureLag(f.Context(), f.log(), projector.Assignment{Projection: f.p, Sink: f.sink})
		if !errors.Is(err, lease.ErrNoGroup) || !strings.Contains(err.Error(), "totals: generation 1 was never started") {
			f.Errorf("before the start: %v", err)
		}

		g := f.startGroup()
		f.wantLag(1, 1)
		f.appendMany(100, 1, 2, 3)
		f.append(cart(7), 4)
		f.append(eventstore.MustStreamID("order", "1"), 1, 2, 3)
		f.wantLag(103, 302)

		// What is pending counts like what is undelivered.
		s, err := f.log().Register(f.Context(), lease.SessionConfig{Worker: "reader", TTL: time.Minute})
		if err != nil {
			f.Fatal(err)
		}
		m := g.Join(s)
		read := 0
		for _, partitions := range s.Readers() {
			b, err := m.Read(f.Context(), partitions, 3, 0)
			if err != nil {
				f.Fatal(err)
			}
			read += len(b.Pointers)
		}
		if read == 0 {
			f.Fatal("nothing was delivered")
		}
		f.wantLag(103, 302)

		// What was applied is not behind, although its pointers are outstanding.
		f.catchUp()
		f.wantLag(103, 0)
		f.append(cart(3), 1, 2)
		f.wantLag(104, 2)
		if err := s.Stop(f.Context()); err != nil {
			f.Fatal(err)
		}

		f.start("w")
		f.settled()
		f.wantLag(0, 0)
	})
}

// Of another generation everything is still to do.
func TestMeasureLagOfGenerations(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	f.startGroup()
	if _, err := f.log().Group(t.Context(), "totals@2"); err != nil {
		t.Fatal(err)
	}
	f.append(cart(1), 1, 2, 3)
	f.catchUp()
	f.wantLag(1, 0)
	l, err := projector.MeasureLag(t.Context(), f.log(), projector.Assignment{Projection: f.p, Sink: f.sink, Generation: 2})
	if err != nil || l.Pointers != 1 || l.Events != 3 {
		t.Errorf("the lag of generation 2 is %+v, %v", l, err)
	}
	testenv.Wait(t, waitLong, func() error {
		if l := f.lag(); l.Oldest < 20*time.Millisecond {
			return fmt.Errorf("it does not grow older: %+v", l)
		}
		return nil
	})
}

// Up to 1,000 pointers are all looked at, wherever they are, and not one more.
func TestMeasureLagBounds(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	f.startGroup()
	for range 900 {
		f.append(cart(0), 1)
	}
	f.appendMany(100, 1, 2)
	f.wantLag(1000, 1100)
	f.append(cart(0), 1)
	if l := f.lag(); l.Pointers != 1001 || !l.Estimated || l.Events < 1050 || l.Events > 1150 {
		t.Errorf("the lag is %+v; want about 1,101 events of 1,001 pointers", l)
	}
}

func TestMeasureLagEstimates(t *testing.T) {
	near := func(f *fixture, pointers, events int) {
		f.Helper()
		l := f.lag()
		if l.Pointers != pointers || !l.Estimated || l.Events < events*9/10 || l.Events > events*11/10 {
			f.Errorf("the lag is %+v; want %d pointers, about %d events", l, pointers, events)
		}
	}
	onEachServer(t, func(f *fixture) {
		f.startGroup()
		f.appendMany(1500, 1, 2)
		near(f, 1500, 3000)
		f.appendMany(1500, 3, 4)
		near(f, 3000, 6000)
	})
	// All that is outstanding is about one stream, in one partition.
	t.Run("Hot", func(t *testing.T) {
		f := newFixture(t, testenv.Redis(t))
		f.startGroup()
		for range 1100 {
			f.append(cart(0), 1, 2)
		}
		near(f, 1100, 2200)
	})
}

// A checkpoint that cannot be read counts for nothing; a sink in trouble is an
// error.
func TestMeasureLagOfDamage(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	f.startGroup()
	f.append(cart(1), 1, 2, 3)
	f.append(cart(2), 1)
	if err := f.client.Set(t.Context(), keyspace.Document(f.store.Namespace()+":totals", 1, "1"), "mine", 0).Err(); err != nil {
		t.Fatal(err)
	}
	f.wantLag(2, 1)
	mood := errors.New("the sink is in trouble")
	_, err := projector.MeasureLag(t.Context(), f.log(), projector.Assignment{Projection: f.p, Sink: noCheckpoints{f.sink, mood}})
	if !errors.Is(err, mood) {
		t.Errorf("MeasureLag = %v; want that %v", err, mood)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := projector.MeasureLag(ctx, f.log(), projector.Assignment{Projection: f.p, Sink: f.sink}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// noCheckpoints is a sink whose checkpoints cannot be loaded.
type noCheckpoints struct {
	projector.Sink
	err error
}

func (s noCheckpoints) Checkpoints(context.Context, projector.Generation, []string) ([]projector.Checkpoint, []error, error) {
	return nil, nil, s.err
}

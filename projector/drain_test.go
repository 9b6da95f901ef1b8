package projector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// heard is told when sessions begin and that a worker is asked to end.
type heard struct{ began, draining chan string }

func (o heard) Observe(seen projector.Observation) {
	switch seen := seen.(type) {
	case projector.SessionBegan:
		o.began <- seen.Session
	case projector.Draining:
		o.draining <- seen.Session
	}
}

// A worker that is asked to end does so as at the end of its context, and says why; what
// it had others take over at once. One of the same name that is started then works on.
func TestWorkerDrained(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	h := make(history)
	h.fill(f, 20)
	seen := heard{make(chan string, 10), make(chan string, 10)}
	begin := func(ctx context.Context) <-chan error {
		t.Helper()
		w, err := projector.NewWorker(projector.WorkerConfig{
			Store: f.store, Log: f.log(), Worker: "blue", TTL: time.Hour, Observer: seen,
			Projections: []projector.Assignment{{Projection: f.p, Sink: f.sink}},
			Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		return ended
	}
	ended := begin(t.Context())
	session := <-seen.began
	testenv.Wait(t, waitLong, func() error { return h.behind(f) })
	if err := f.log().Drain(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, projector.ErrDrained) {
		t.Fatalf("it ended with %v", err)
	}
	if asked := <-seen.draining; asked != session {
		t.Errorf("%s was asked to end, not %s", asked, session)
	}
	if live, err := f.log().Live(t.Context()); err != nil || len(live) != 0 {
		t.Errorf("sessions live: %+v, %v", live, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended = begin(ctx)
	<-seen.began
	h.fill(f, 20)
	testenv.Wait(t, waitLong, func() error { return h.behind(f) })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the one that was started then: %v", err)
	}
}

// A worker that changes its session, because something else is to be served, at the moment
// it is asked to end, ends all the same.
func TestWorkerDrainedBetweenSessions(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	registry := f.operator().Generations
	seen := heard{make(chan string, 10), make(chan string, 10)}
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: f.store, Log: f.log(), Worker: "blue", TTL: time.Hour, Observer: seen, Generations: registry,
		Projections: []projector.Assignment{{Projection: f.p, Sink: f.sink}},
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), waitLong)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	session := <-seen.began
	if _, err := f.operator().Rebuild(ctx, f.p, generations.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := f.log().Drain(ctx, session); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, projector.ErrDrained) {
		t.Fatal(fmt.Errorf("it ended with %w", err))
	}
}

package chaos

import (
	"context"
	"errors"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// store is a store with points around its reads.
type store struct {
	eventstore.Reader
	*saboteur
	stubborn bool
}

// detached returns the context that a worker's calls are made with. A stubborn
// worker does not hear that its session has ended, as if what it sends had been on
// its way for long.
func detached(ctx context.Context, stubborn bool) context.Context {
	if stubborn {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// ReadMany implements [eventstore.Reader].
func (s store) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	names := make([]string, len(reads))
	for i, r := range reads {
		names[i] = r.Stream.String()
	}
	s.at(AfterClaim, names)
	failed, err := s.Reader.ReadMany(detached(ctx, s.stubborn), reads, visit)
	s.at(AfterRead, names)
	return failed, err
}

// sink is a sink with points around its commits.
type sink struct {
	projector.Sink
	*saboteur
	stubborn bool
}

// Commit implements [projector.Sink].
func (s sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.Stream.String()
	}
	s.at(BeforeCommit, names)
	refused, err := s.Sink.Commit(detached(ctx, s.stubborn), g, changes)
	s.at(BeforeSettle, names)
	return refused, err
}

// observer tells the harness what its worker does.
type observer struct{ tell func(report) }

// Observe implements [projector.Observer].
func (o observer) Observe(what projector.Observation) {
	switch w := what.(type) {
	case projector.SessionBegan:
		o.tell(report{Kind: began, Session: w.Session})
	case projector.SessionEnded:
		if errors.Is(w.Reason, lease.ErrFenced) {
			o.tell(report{Kind: fenced})
		}
	case projector.Disowned:
		o.tell(report{Kind: fenced})
	case projector.Conflict:
		o.tell(report{Kind: refused})
	case projector.Claimed:
		o.tell(report{Kind: claimed, Group: w.Group(), Streams: w.Streams})
	case projector.ParkedStream:
		o.tell(report{Kind: parked, Group: w.Group(), Streams: []string{w.Stream.String()}, Text: w.Error()})
	}
}

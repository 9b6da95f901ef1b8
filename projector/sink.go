package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// Generation numbers the builds of a projection from 1. Each has documents and
// checkpoints of its own, so that a rebuild never disturbs what is read.
type Generation int

// Sink keeps the documents of one projection, each together with its
// checkpoint. Implementations are safe for concurrent use by any number of
// processes, and pass the suite in projector/sinktest.
type Sink interface {
	// Begin prepares for a generation: it checks that the backend can keep
	// what it is given, and creates what has to exist. Doing it again, also
	// at the same time elsewhere, changes nothing. Call it before anything
	// else about that generation.
	Begin(ctx context.Context, g Generation) error

	// Checkpoints returns how far each document stands, in the order of
	// keys; the zero Checkpoint where there is none.
	Checkpoints(ctx context.Context, g Generation, keys []string) ([]Checkpoint, error)

	// Commit replaces documents, each by one atomic compare-and-set: where
	// the document's checkpoint is the change's From, the document becomes
	// the one given and its checkpoint To. Where the checkpoint is To
	// already, the change was made before, its reply was lost, and it
	// counts as made. Anything else changes nothing.
	//
	// Changes stand alone: refused, which is nil where all were made, has at
	// the place of each change a [*RefusedError], another error about that
	// document alone, or nil. When err is not nil, some of the changes may
	// have been made; committing them again is safe. A key occurs once.
	Commit(ctx context.Context, g Generation, changes []Change) (refused []error, err error)

	// Document returns a document with its values as text, and its
	// checkpoint: zero, with no document, where there is none.
	Document(ctx context.Context, g Generation, key string) (map[string]string, Checkpoint, error)
}

// Change is a document to be committed, the result of folding a stream from one
// checkpoint to another. To lies behind From.
type Change struct {
	// Stream is where the document comes from; errors name it.
	Stream eventstore.StreamID
	// Key identifies the document within the projection.
	Key      string
	From, To Checkpoint
	Document *Document
}

// ErrRefused is wrapped by [*RefusedError].
var ErrRefused = errors.New("checkpoint has moved")

// RefusedError says that a change was not made because the document's
// checkpoint is not the one it was folded from: somebody else got there first.
// Nothing is wrong; the stream has to be folded again from the checkpoint that
// is there now.
type RefusedError struct {
	Stream       eventstore.StreamID
	From, Actual Checkpoint
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: %v: folded from %s, but the read model is at %s", e.Stream, ErrRefused, e.From, e.Actual)
}

// Is makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

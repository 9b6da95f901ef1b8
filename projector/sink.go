package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/generations"
)

// Generation numbers the builds of a projection from 1. Each has documents and
// checkpoints of its own, so that a rebuild never disturbs what is read.
type Generation = generations.Generation

// Sink keeps what one projection makes of events, documents or effects, together
// with a checkpoint for each stream that says how far it has been applied.
// Implementations are safe for concurrent use by any number of processes, and pass
// the suites in projector/sinktest.
type Sink interface {
	// Takes says what the changes given to Commit have to hold.
	Takes() Form

	// Begin prepares for a generation: it checks that the backend can keep
	// what it is given, and creates what has to exist. Doing it again, also
	// at the same time elsewhere, changes nothing. Call it before anything
	// else about that generation.
	Begin(ctx context.Context, g Generation) error

	// Checkpoints returns the checkpoints kept under keys, in their order; the
	// zero Checkpoint where there is none. One that cannot be read, because
	// what is there is damaged, has its error at its place of failed, which is
	// nil where all could be. When err is not nil the backend is in trouble.
	Checkpoints(ctx context.Context, g Generation, keys []string) (at []Checkpoint, failed []error, err error)

	// Commit makes changes, each by one atomic compare-and-set: where the
	// checkpoint is the change's From, the change is made, entirely, and the
	// checkpoint becomes To. Where the checkpoint is To already, the change was
	// made before, its reply was lost, and it counts as made. Anything else
	// changes nothing. A change of a document from a checkpoint to the same one
	// replaces the document. One without a document removes it, with all that was
	// in it, and keeps the checkpoint alone, from which the next change starts.
	//
	// Changes stand alone: refused, which is nil where all were made, has at
	// the place of each change a [*RefusedError], another error about that
	// change alone, or nil. When err is not nil, some of the changes may
	// have been made; committing them again is safe. A key occurs once.
	Commit(ctx context.Context, g Generation, changes []Change) (refused []error, err error)
}

// DocumentReader is a Sink whose documents can be read.
type DocumentReader interface {
	Sink
	// Documents reads documents of a generation, a few hundred at a time, with
	// every value as the text that [Value.String] gives, and their checkpoints:
	// nil and the zero Checkpoint where there is none, nil and a checkpoint where
	// the document was removed.
	Documents(ctx context.Context, g Generation, keys []string) ([]map[string]string, []Checkpoint, error)
}

// Loader is a Sink that a generation can be loaded into, faster than by Commit, as
// long as nobody reads it.
type Loader interface {
	Sink

	// BeginLoad prepares for a generation that is to be loaded, as Begin does for
	// one that is committed to. Doing it again, also at the same time elsewhere or
	// after Finish, changes nothing.
	BeginLoad(ctx context.Context, g Generation) error

	// Load makes the changes of a chunk, all or none. Each starts from the zero
	// Checkpoint, and no stream is in two chunks. A chunk of a name that was
	// loaded before, by this call or another, is not loaded again, and counts as
	// loaded. Where refused is not nil, it has at the place of each change an
	// error about that change alone, or nil, and nothing was loaded.
	Load(ctx context.Context, g Generation, chunk string, changes []Change) (refused []error, err error)

	// Finish ends the loading, and may take long. From then on the generation is
	// committed to, and Load fails. Doing it again, also at the same time
	// elsewhere, changes nothing. The error is [ErrUnrecoverable] where it is
	// because of what was loaded, so that trying again cannot help.
	Finish(ctx context.Context, g Generation) error
}

// Change is what applying the events of a stream from one checkpoint to another
// comes to. To lies behind From, or is the same where a document is made anew.
type Change struct {
	// Stream is where the events come from; errors name it.
	Stream eventstore.StreamID
	// Key is what the checkpoint is kept under. Where there is a document it
	// is the document's key.
	Key      string
	From, To Checkpoint
	// Document is the new document, for sinks that take [Documents]. Nil is for a
	// stream that was deleted: there is no document from To on, whatever was there
	// before, and nothing of it may be left where readers or others could find it.
	// Readers get none; they still get the checkpoint.
	Document *Document
	// Effects are what the events do, for sinks that take [EffectsOnly].
	Effects *Effects
	// Deadline is how long each function among the effects that the sink calls may
	// take; 0 for ever. One that takes longer is an error about this change alone.
	Deadline time.Duration
}

// ErrRefused is wrapped by [*RefusedError].
var ErrRefused = errors.New("checkpoint has moved")

// RefusedError says that a change was not made because the checkpoint is not the
// one it starts from: somebody else got there first. Nothing is wrong; the stream
// has to be applied again from the checkpoint that is there now.
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

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// writer answers what is asked, a word at a time. It is a reactor: no request waits for it,
// and a worker that dies is followed by another, which goes on behind the last word.
type writer struct {
	events *eventstore.Registry
	pace   time.Duration    // between two words
	store  eventstore.Store // from when the program knows where it is
}

func (w *writer) reactor() projector.Projection {
	p := projector.NewReactor("writer", projector.ReactorConfig{Categories: []string{category}, Types: []string{"asked"}, Events: w.events})
	projector.OnReact(p, w.answer)
	return p
}

// sink keeps how far the writer is. The store that it writes to comes with that.
func (w *writer) sink(ctx context.Context, b *daemon.Backends, projection string) (projector.Sink, error) {
	w.store = b.Store
	return daemon.Nowhere()(ctx, b, projection)
}

// answer appends the answer to a question behind it, a piece at a time.
//
// It may be begun several times, even by two workers at once where one of them was taken
// for dead. So each piece has an id that follows from that of the question, and is appended
// only behind the version up to which was looked for pieces: whatever is there already is
// found, and what others write meanwhile too.
func (w *writer) answer(ctx context.Context, a Asked, question *eventstore.Recorded) error {
	pieces, err := w.pieces(a.Question, question)
	if err != nil {
		return projector.Unrecoverable(err)
	}
	for at, next := question.Version, 0; next < len(pieces); {
		for e, err := range w.store.Read(ctx, question.Stream, eventstore.Range{From: at + 1}) {
			switch {
			case err != nil:
				return projector.Transient(err)
			case e.EndsStream():
				return nil // nobody wants the answer any more
			case next < len(pieces) && e.ID == pieces[next].ID:
				next++
			}
			at = e.Version
		}
		var conflict *eventstore.ConflictError
		for ; next < len(pieces) && conflict == nil; next++ {
			if err := wait(ctx, w.pace); err != nil {
				return err
			}
			pieces[next].Time = time.Now()
			appended, err := w.store.Append(ctx, question.Stream, eventstore.Exact(at), pieces[next])
			switch {
			case errors.As(err, &conflict):
				next-- // it is looked what is there now
			case errors.Is(err, eventstore.ErrTombstoned):
				return nil
			case err != nil:
				return projector.Transient(err)
			}
			at = max(at, appended.Last)
		}
		if conflict != nil && conflict.Deleted {
			return nil
		}
	}
	return nil
}

// pieces returns the events of an answer. Their time is when they are appended, as by that
// a message is idle or not.
func (w *writer) pieces(question string, asked *eventstore.Recorded) ([]eventstore.Event, error) {
	var all []eventstore.Event
	for _, word := range strings.SplitAfter(reply(question), " ") {
		e, err := w.events.Encode(Fragment{word})
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	e, err := w.events.Encode(Finished{})
	if err != nil {
		return nil, err
	}
	all = append(all, e)
	for i := range all {
		all[i].ID = uuid.NewSHA1(asked.ID, []byte(strconv.Itoa(i)))
		all[i].Metadata = eventstore.Metadata{Correlation: asked.Metadata.Correlation, Causation: asked.ID.String()}
	}
	return all, nil
}

// reply is all that the writer has to say.
func reply(question string) string {
	return fmt.Sprintf("You asked: %s Nobody here knows, but this is how you are told. Every word is an event. "+
		"It was appended to the stream of this message when it was there, and whoever follows the stream hears of it. "+
		"Close the page and open it again: the words went on without you, and you will not have missed one. "+
		"Kill the worker that writes them: another one goes on behind the last word.", question)
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trafficEvery is how often somebody asks something that is made up.
const trafficEvery = 20 * time.Second

// traffic asks something now and then, until ctx ends.
func (w *writer) traffic(ctx context.Context, b *daemon.Backends) error {
	questions := []string{"what is an event?", "who writes this?", "where was I?", "is it over yet?"}
	for i := 0; ; i++ {
		e, err := w.events.Encode(Asked{questions[i%len(questions)]})
		if err != nil {
			return err
		}
		stream, err := eventstore.NewStreamID(category, uuid.NewString()[:8])
		if err != nil {
			return err
		}
		if _, err := b.Store.Append(ctx, stream, eventstore.NoStream, e); err != nil {
			return err
		}
		if err := wait(ctx, trafficEvery); err != nil {
			return err
		}
	}
}

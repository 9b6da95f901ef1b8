package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// operation is what a writer asked for: an append of one event where id is set, the
// end of the stream where ends is, else a read of the whole stream, or of its head.
type operation struct {
	expected eventstore.ExpectedVersion
	id       uuid.UUID
	ends     eventstore.Ended
	headOnly bool
}

// result is what it was told.
type result struct {
	head       eventstore.Version // of the stream after the operation
	history    uint64             // of the events read
	conflict   bool
	deleted    bool // where there was a conflict: with a deleted stream
	duplicate  bool // of the end that the stream had already
	noStream   bool
	tombstoned bool // refused, and does not tell the head
}

// changed reports whether the operation moved the head.
func (r result) changed(op operation) bool {
	return (op.id != uuid.Nil || op.ends != eventstore.Live) && !r.conflict && !r.duplicate && !r.noStream && !r.tombstoned
}

// state is a stream in the model: its head, how that ended it, a digest of the ids of
// its events in order, and how many operations that change nothing it has answered at
// that head.
type state struct {
	head     eventstore.Version
	ended    eventstore.Ended
	history  uint64
	answered int
}

// expects reports whether an append may go on from the state, were it not tombstoned.
func (s state) expects(expected eventstore.ExpectedVersion) bool {
	exists := s.head > 0 && s.ended == eventstore.Live
	return expected == eventstore.Any ||
		expected == eventstore.NoStream && !exists ||
		expected == eventstore.StreamExists && exists ||
		expected == eventstore.Exact(s.head)
}

// endedAlready reports whether an end finds its work done.
func (s state) endedAlready(op operation) bool {
	return op.ends != eventstore.Live && op.ends == s.ended &&
		(op.ends == eventstore.Tombstoned || op.expected < 0 || op.expected == eventstore.Exact(s.head) || op.expected == eventstore.Exact(s.head-1))
}

// streamModel is what one stream does when the operations of a history come
// one at a time.
//
// Every operation that changed nothing tells the head it saw, so it can only
// have happened while the stream was there. Knowing their number, the model
// does not let the head move on before all of them had their turn; without that
// the search among 64 writers would not end.
func streamModel(history []porcupine.Operation) porcupine.Model {
	saw := make(map[eventstore.Version]int)
	for _, o := range history {
		// Nothing follows a tombstone, so what it refused needs no counting.
		if told := o.Output.(result); !told.changed(o.Input.(operation)) && !told.tombstoned {
			saw[told.head]++
		}
	}
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, output any) (bool, any) {
			now, op, told := s.(state), input.(operation), output.(result)
			next := now
			next.answered++
			switch {
			case op.id == uuid.Nil && op.ends == eventstore.Live:
				return told.head == now.head && (op.headOnly || told.history == now.history), next
			case now.endedAlready(op):
				return told == result{duplicate: true, head: now.head}, next
			case now.ended == eventstore.Tombstoned:
				return told == result{tombstoned: true}, next
			case op.ends == eventstore.Deleted && now.head == 0:
				return told == result{noStream: true}, next
			case !now.expects(op.expected):
				return told == result{conflict: true, head: now.head, deleted: now.ended == eventstore.Deleted}, next
			}
			next = state{head: now.head + 1, ended: op.ends, history: digest(now.history, idOf(op))}
			return told == result{head: next.head} && now.answered == saw[now.head], next
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

// idOf returns the id of the event that an operation appends. Who ends a stream does not
// learn the event's; one stands for all.
func idOf(op operation) uuid.UUID {
	if op.ends != eventstore.Live {
		return uuid.UUID{byte(op.ends)}
	}
	return op.id
}

// idIn returns the id that idOf gave the operation that an event came from.
func idIn(e *eventstore.Recorded) uuid.UUID {
	switch e.Type {
	case eventstore.DeletedType:
		return uuid.UUID{byte(eventstore.Deleted)}
	case eventstore.TombstonedType:
		return uuid.UUID{byte(eventstore.Tombstoned)}
	}
	return e.ID
}

var digestSeed = maphash.MakeSeed()

func digest(history uint64, id uuid.UUID) uint64 {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], history)
	copy(b[8:], id[:])
	return maphash.Bytes(digestSeed, b[:])
}

func (s *suite) writersAreLinearizable(t *testing.T, store eventstore.Store) {
	// One stream that only grows, one that is deleted now and then, and one that is
	// tombstoned in the middle of that.
	for name, ends := range map[string]func(writer, turn int) eventstore.Ended{
		"1": func(int, int) eventstore.Ended { return eventstore.Live },
		"2": func(writer, turn int) eventstore.Ended {
			if (writer+3*turn)%11 == 0 {
				return eventstore.Deleted
			}
			return eventstore.Live
		},
		"3": func(writer, turn int) eventstore.Ended {
			switch {
			case turn >= 5 && writer%16 == 0:
				return eventstore.Tombstoned
			case (writer+3*turn)%11 == 0:
				return eventstore.Deleted
			}
			return eventstore.Live
		},
	} {
		linearizable(t, store, cart(name), ends)
	}
}

// linearizable has 64 writers at work on a stream, who end it when they are told to, and
// fails the test where what they were told could not have come about one operation at
// a time.
func linearizable(t *testing.T, store eventstore.Store, stream eventstore.StreamID, ends func(writer, turn int) eventstore.Ended) {
	t.Helper()
	const writers, turns = 64, 8
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation // guarded by mu
	var conflicts, moved, ended atomic.Int32

	run := func(writer int, op operation) result {
		call := time.Since(begin)
		var told result
		var err error
		switch {
		case op.id != uuid.Nil || op.ends != eventstore.Live:
			var at eventstore.Appended
			switch op.ends {
			case eventstore.Deleted:
				at, err = store.Delete(t.Context(), stream, op.expected, eventstore.Reason{})
			case eventstore.Tombstoned:
				at, err = store.Tombstone(t.Context(), stream, op.expected, eventstore.Reason{})
			default:
				e := newEvent()
				e.ID = op.id
				at, err = store.Append(t.Context(), stream, op.expected, e)
			}
			told.head, told.duplicate = at.Last, at.Duplicate
			conflict := new(eventstore.ConflictError)
			switch {
			case errors.As(err, &conflict):
				told, err = result{conflict: true, head: conflict.Actual, deleted: conflict.Deleted}, nil
				conflicts.Add(1)
			case errors.Is(err, eventstore.ErrTombstoned):
				told, err = result{tombstoned: true}, nil
			case errors.Is(err, eventstore.ErrNoStream):
				told, err = result{noStream: true}, nil
			}
			if err == nil && told.changed(op) {
				moved.Add(1)
				if op.ends != eventstore.Live {
					ended.Add(1)
				}
			}
		case op.headOnly:
			told.head, err = store.Head(t.Context(), stream)
		default:
			for e, rerr := range store.Read(t.Context(), stream, eventstore.Range{}) {
				if err = rerr; err != nil {
					break
				}
				told.head, told.history = e.Version, digest(told.history, idIn(&e))
			}
		}
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: writer, Input: op, Call: int64(call), Output: told, Return: int64(time.Since(begin))})
		return told
	}

	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			known := eventstore.Version(0)
			for turn := range turns {
				op := operation{id: uuid.Must(uuid.NewV7()), expected: eventstore.Exact(known), ends: ends(writer, turn)}
				if op.ends != eventstore.Live {
					op.id = uuid.Nil
				}
				kind := (writer + turn) % 8
				if op.ends != eventstore.Live && kind < 2 {
					kind = 2
				}
				switch kind {
				case 0:
					op = operation{}
				case 1:
					op = operation{headOnly: true}
				case 2:
					op.expected = eventstore.Any
				case 3:
					op.expected = eventstore.NoStream
				case 4:
					op.expected = eventstore.StreamExists
				}
				if told := run(writer, op); !told.tombstoned {
					known = told.head
				}
			}
		})
	}
	wg.Wait()
	last := run(0, operation{})
	if last.head != eventstore.Version(moved.Load()) {
		t.Errorf("%s is at %d after %d appends", stream, last.head, moved.Load())
	}
	t.Logf("%s: %d appends, of which %d end it, and %d conflicts", stream, moved.Load(), ended.Load(), conflicts.Load())
	if conflicts.Load() == 0 || moved.Load() == 0 {
		t.Errorf("%s: %d appends, %d conflicts: that shows nothing", stream, moved.Load(), conflicts.Load())
	}
	if got := porcupine.CheckOperationsTimeout(streamModel(history), history, time.Minute); got != porcupine.Ok {
		t.Errorf("%s: the history of %d operations is not linearizable: %s", stream, len(history), got)
	}
}

func (s *suite) oneOfManyWins(t *testing.T, store eventstore.Store) {
	for version := range eventstore.Version(10) {
		stream := cart("1")
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				at, err := store.Append(t.Context(), stream, eventstore.Exact(version), newEvent())
				if err == nil && at.First == version+1 {
					won.Add(1)
					return
				}
				wantConflict(t, "the loser", err, eventstore.ConflictError{Stream: stream, Expected: eventstore.Exact(version), Actual: version + 1})
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d appends won version %d", won.Load(), version+1)
		}
	}
}

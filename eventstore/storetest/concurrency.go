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

// operation is what a writer asked for: an append of one event where id is set,
// else a read of the whole stream, or of its head.
type operation struct {
	expected eventstore.ExpectedVersion
	id       uuid.UUID
	headOnly bool
}

// result is what it was told.
type result struct {
	conflict bool
	head     eventstore.Version // of the stream after the operation
	history  uint64             // of the events read
}

// state is a stream in the model: its head, a digest of the ids of its events
// in order, and how many operations that change nothing it has answered at that
// head.
type state struct {
	head     eventstore.Version
	history  uint64
	answered int
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
		if told := o.Output.(result); told.conflict || o.Input.(operation).id == uuid.Nil {
			saw[told.head]++
		}
	}
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, output any) (bool, any) {
			now, op, told := s.(state), input.(operation), output.(result)
			next := now
			next.answered++
			if op.id == uuid.Nil {
				return told.head == now.head && (op.headOnly || told.history == now.history), next
			}
			asExpected := op.expected == eventstore.Any ||
				op.expected == eventstore.NoStream && now.head == 0 ||
				op.expected == eventstore.StreamExists && now.head > 0 ||
				op.expected == eventstore.Exact(now.head)
			if !asExpected {
				return told.conflict && told.head == now.head, next
			}
			next = state{head: now.head + 1, history: digest(now.history, op.id)}
			return !told.conflict && told.head == next.head && now.answered == saw[now.head], next
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

var digestSeed = maphash.MakeSeed()

func digest(history uint64, id uuid.UUID) uint64 {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], history)
	copy(b[8:], id[:])
	return maphash.Bytes(digestSeed, b[:])
}

func (s *suite) writersAreLinearizable(t *testing.T, store eventstore.Store) {
	const writers, turns = 64, 8
	stream := cart("1")
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation // guarded by mu
	var conflicts, appended atomic.Int32

	run := func(writer int, op operation) result {
		call := time.Since(begin)
		var told result
		var err error
		switch {
		case op.id != uuid.Nil:
			e := newEvent()
			e.ID = op.id
			var at eventstore.Appended
			at, err = store.Append(t.Context(), stream, op.expected, e)
			told.head = at.Last
			conflict := new(eventstore.ConflictError)
			if errors.As(err, &conflict) {
				told, err = result{conflict: true, head: conflict.Actual}, nil
				conflicts.Add(1)
			} else {
				appended.Add(1)
			}
		case op.headOnly:
			told.head, err = store.Head(t.Context(), stream)
		default:
			for e, rerr := range store.Read(t.Context(), stream, eventstore.Range{}) {
				if err = rerr; err != nil {
					break
				}
				told.head, told.history = e.Version, digest(told.history, e.ID)
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
				op := operation{id: uuid.Must(uuid.NewV7()), expected: eventstore.Exact(known)}
				switch (writer + turn) % 8 {
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
				known = run(writer, op).head
			}
		})
	}
	wg.Wait()
	last := run(0, operation{})
	if last.head != eventstore.Version(appended.Load()) {
		t.Errorf("the stream is at %d after %d appends", last.head, appended.Load())
	}
	if conflicts.Load() == 0 || appended.Load() == 0 {
		t.Errorf("%d appends, %d conflicts: that shows nothing", appended.Load(), conflicts.Load())
	}
	if got := porcupine.CheckOperationsTimeout(streamModel(history), history, time.Minute); got != porcupine.Ok {
		t.Errorf("the history of %d operations is not linearizable: %s", len(history), got)
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

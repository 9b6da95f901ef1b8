package projector

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

// An anchor that is not there is told from one that may be gone: where only the end of a
// deleted stream is left, its history is no other.
func TestMissing(t *testing.T) {
	t.Parallel()
	store, err := redisstore.Open(t.Context(), testenv.Redis(t), redisstore.Config{Namespace: testenv.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	kept, deleted := eventstore.MustStreamID("cart", "kept"), eventstore.MustStreamID("cart", "deleted")
	at := make(map[eventstore.StreamID][]Checkpoint)
	for _, s := range []eventstore.StreamID{kept, deleted} {
		for range 3 {
			e := eventstore.Event{ID: uuid.Must(uuid.NewV7()), Type: "added", SchemaVersion: 1}
			result, err := store.Append(t.Context(), s, eventstore.Any, e)
			if err != nil {
				t.Fatal(err)
			}
			at[s] = append(at[s], Checkpoint{PositionOf(result.Last), e.ID})
		}
	}
	end, err := store.Delete(t.Context(), deleted, eventstore.Any, eventstore.Reason{Text: "a test", By: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Truncate(t.Context(), deleted, end.Last, false); err != nil {
		t.Fatal(err)
	}
	forked := at[kept][1]
	forked.EventID = at[kept][0].EventID
	why, err := missing(t.Context(), store, []anchor{
		{kept, at[kept][2]}, {kept, forked}, {kept, Checkpoint{PositionOf(4), at[kept][2].EventID}}, {deleted, at[deleted][2]},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, ErrForked, ErrRegressed, errRemoved} {
		if !errors.Is(why[i], want) {
			t.Errorf("anchor %d: %v; want %v", i, why[i], want)
		}
	}
}

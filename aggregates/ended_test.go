package aggregates_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// remove deletes a cart past the repository.
func (h *history) remove(id string) {
	h.tb.Helper()
	if _, err := h.Delete(h.tb.Context(), cart(id), eventstore.StreamExists, eventstore.Reason{}); err != nil {
		h.tb.Fatal(err)
	}
}

// trim removes the events of a cart below a version.
func (h *history) trim(id string, before eventstore.Version) {
	h.tb.Helper()
	if n, err := h.Truncate(h.tb.Context(), cart(id), before, false); n == 0 || err != nil {
		h.tb.Fatalf("%d events were removed: %v", n, err)
	}
}

// wantCart fails the test unless a repository loads so many teas at a version.
func wantCart(t *testing.T, r *aggregates.Repository[Cart], id string, teas int, version eventstore.Version) {
	t.Helper()
	c, at, err := r.Load(t.Context(), id)
	if err != nil || c.Items["tea"] != teas || c.CheckedOut || at != version {
		t.Errorf("loaded %+v at version %d, %v; want %d teas at version %d", c, at, err, teas, version)
	}
}

// Behind its deletion an entity begins anew, whether its state was warm, and whether what
// came before is still there.
func TestDeletedEntityBeginsAnew(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		h := newHistory(t)
		warm, cold := newRepository(h, aggregates.Config{}), newRepository(h, aggregates.Config{CacheSize: -1})
		warmUp(t, warm, "1", 3)
		h.add("1", CheckedOut{})
		h.remove("1")
		if trimmed {
			h.trim("1", 5)
		}
		wantCart(t, cold, "1", 0, 5)
		if n := quantity(t, warm, "1", "tea"); n != 0 {
			t.Errorf("the warm state has %d teas", n)
		}
		for _, r := range []*aggregates.Repository[Cart]{warm, cold} {
			if _, err := r.Execute(t.Context(), "1", checkOut); !errors.Is(err, errEmpty) {
				t.Errorf("checking out what was deleted: %v", err)
			}
		}
		if got := mustExecute(t, warm, "1", atMost(1)); got.Version != 6 {
			t.Errorf("the first event behind the deletion is version %d", got.Version)
		}
		mustExecute(t, cold, "1", atMost(2))
		wantCart(t, cold, "1", 2, 7)
		wantCart(t, warm, "1", 2, 7)
		if n := quantity(t, warm, "1", "tea"); n != 2 {
			t.Errorf("the warm state has %d teas, expected 2", n)
		}
	}
}

func TestTombstonedEntity(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	warm, cold := newRepository(h, aggregates.Config{}), newRepository(h, k.config(snapshots.Every(1)))
	warmUp(t, warm, "1", 3)
	end := func() {
		if _, err := h.Tombstone(t.Context(), cart("1"), eventstore.Any, eventstore.Reason{}); err != nil {
			t.Error(err)
		}
	}
	// Between the load and the append of a command.
	if _, err := warm.Execute(t.Context(), "1", func(Cart) ([]any, error) { end(); return teas(1), nil }); !errors.Is(err, eventstore.ErrTombstoned) {
		t.Errorf("the command that was overtaken: %v", err)
	}
	called := 0
	count := func(Cart) ([]any, error) { called++; return nil, nil }
	for range 2 { // the second time from a snapshot at the tombstone
		for _, r := range []*aggregates.Repository[Cart]{warm, cold} {
			if _, err := r.Execute(t.Context(), "1", count); !errors.Is(err, eventstore.ErrTombstoned) {
				t.Errorf("a command: %v", err)
			}
		}
	}
	if called > 0 {
		t.Error("it was left to the command to decide")
	}
	wantCart(t, cold, "1", 0, 4)
}

// An append without a reply, and a tombstone after it: the command learns whether it
// took effect.
func TestTombstoneAfterLostReply(t *testing.T) {
	for _, stored := range []bool{true, false} {
		h := newHistory(t)
		r := newRepository(h, aggregates.Config{})
		h.onAppend = func(attempt int, do func() error) error {
			if attempt > 1 {
				return do()
			}
			if stored {
				if err := do(); err != nil {
					return err
				}
			}
			if _, err := h.Tombstone(t.Context(), cart("1"), eventstore.Any, eventstore.Reason{}); err != nil {
				t.Error(err)
			}
			return eventstore.ErrOutcomeUnknown
		}
		got, err := r.Execute(t.Context(), "1", add("tea", 1))
		if stored && (err != nil || got.Version != 1) {
			t.Errorf("stored: got version %d, %v", got.Version, err)
		}
		if !stored && (!errors.Is(err, eventstore.ErrTombstoned) || errors.Is(err, eventstore.ErrOutcomeUnknown)) {
			t.Errorf("not stored: got %v", err)
		}
	}
}

// A snapshot of before a deletion counts for nothing behind it.
func TestSnapshotBeforeDeletion(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		h := newHistory(t)
		k := newKept(t, h)
		h.add("1", teas(10)...)
		newRepository(h, k.config(snapshots.Every(10))).Load(t.Context(), "1")
		h.add("1", teas(1)...)
		h.remove("1")
		h.add("1", teas(2)...)
		if trimmed {
			h.trim("1", 12)
		}
		if v := k.version(t, "1"); v != 10 {
			t.Fatalf("the snapshot is of version %d", v)
		}
		r := newRepository(h, k.config(snapshots.None))
		wantCart(t, r, "1", 2, 14)
		want := snapshots.Used
		if trimmed {
			want = snapshots.Unproven // there is nothing left to compare it with
		}
		for v, err := range r.VerifySnapshots(t.Context()) {
			if err != nil || v.Outcome != want {
				t.Errorf("verifying: %s, %v, %v", v.Outcome, v.Err, err)
			}
		}
		// A newer one, taken behind the deletion, is used and right.
		wantCart(t, newRepository(h, k.config(snapshots.Every(1))), "1", 2, 14)
		wantCart(t, r, "1", 2, 14)
		if v := k.version(t, "1"); v != 14 {
			t.Errorf("the snapshot is of version %d", v)
		}
		for v, err := range r.VerifySnapshots(t.Context()) {
			if err != nil || v.Outcome != snapshots.Used {
				t.Errorf("verifying: %s, %v, %v", v.Outcome, v.Err, err)
			}
		}
	}
}

// A stream without its beginning is loaded from a snapshot that reaches back behind it,
// and from nothing else.
func TestTruncatedEntity(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	config := k.config(snapshots.None)
	config.CacheSize = 0
	warm := newRepository(h, config)
	warmUp(t, warm, "1", 5)
	h.add("1", teas(5)...)
	newRepository(h, k.config(snapshots.Every(10))).Load(t.Context(), "1")
	h.add("1", teas(5)...)
	k.outcomes.want(t, snapshots.Missing, snapshots.Missing, snapshots.Saved)

	h.trim("1", 10)
	cold, bare := newRepository(h, k.config(snapshots.None)), newRepository(h, aggregates.Config{CacheSize: -1})
	wantCart(t, cold, "1", 15, 15)
	k.outcomes.want(t, snapshots.Used)
	if n := quantity(t, warm, "1", "tea"); n != 15 { // its state is of version 5
		t.Errorf("the warm state has %d teas, expected 15", n)
	}
	k.outcomes.want(t, snapshots.Used)
	refuse := func(r *aggregates.Repository[Cart]) {
		t.Helper()
		_, _, loadErr := r.Load(t.Context(), "1")
		_, executeErr := r.Execute(t.Context(), "1", func(Cart) ([]any, error) { t.Error("a partial state"); return nil, nil })
		for _, err := range []error{loadErr, executeErr} {
			if !errors.Is(err, eventstore.ErrTruncated) || eventErrorAt(err) != 1 {
				t.Errorf("got %v", err)
			}
		}
	}
	refuse(bare)

	// While the snapshots are out of reach that is what is wrong, and it passes.
	away := &troubled{Store: k.Store}
	down := func(context.Context) error { return errors.New("connection refused") }
	away.load.Store(&down)
	config.Snapshots.Store = away
	config.CacheSize = -1
	distant := newRepository(h, config)
	if _, _, err := distant.Load(t.Context(), "1"); !errors.Is(err, eventstore.ErrTruncated) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("without the store of snapshots: %v", err)
	}
	away.load.Store(nil)
	wantCart(t, distant, "1", 15, 15)
	k.outcomes.want(t, snapshots.Unavailable, snapshots.Unavailable, snapshots.Used)

	h.trim("1", 11) // the event that the snapshot ends with goes
	refuse(cold)
	refuse(bare)
	if n := quantity(t, warm, "1", "tea"); n != 15 {
		t.Errorf("the warm state has %d teas, expected 15", n)
	}
}

// Package snapshottest has the suite every [snapshots.Store] passes. A new store is one
// directory and one test that calls [Run].
package snapshottest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// Store is a store whose bytes can be looked at and changed, past itself.
type Store interface {
	snapshots.Store
	// Raw returns what is stored under a key, nil where nothing is.
	Raw(ctx context.Context, k snapshots.Key) ([]byte, error)
	// SetRaw stores bytes under a key.
	SetRaw(ctx context.Context, k snapshots.Key, b []byte) error
}

// Run runs the suite. Each call of open returns a store that is empty and disturbed by
// nobody else.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(*store)
	}{
		{"NothingThere", testNothingThere},
		{"SaveAndLoad", testSaveAndLoad},
		{"OlderNeverReplacesNewer", testOlder},
		{"SameVersionReplaces", testSameVersion},
		{"VersionsCompareAsNumbers", testVersionsAsNumbers},
		{"OtherFoldReplaces", testOtherFold},
		{"RepeatedSave", testRepeatedSave},
		{"ManyInOneCall", testMany},
		{"LargestState", testLargestState},
		{"TooLargeAlone", testTooLarge},
		{"InvalidAlone", testInvalid},
		{"AwkwardStreams", testAwkwardStreams},
		{"Delete", testDelete},
		{"KeysOfADefinition", testKeys},
		{"Drop", testDrop},
		{"EveryByteFlipped", testFlipped},
		{"EveryTruncation", testTruncated},
		{"TooLongToBeOne", testTooLong},
		{"OfAnotherKey", testOfAnotherKey},
		{"CorruptIsReplaced", testCorruptReplaced},
		{"NewestOfManyWritersStays", testWriters},
		{"ContextEnded", testContextEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(&store{T: t, Store: open(t)})
		})
	}
}

// store is a store with the test it belongs to.
type store struct {
	*testing.T
	Store
}

const definition = "aggregate.cart"

func key(id string) snapshots.Key {
	return snapshots.Key{Definition: definition, Stream: eventstore.MustStreamID("cart", id)}
}

// of returns a snapshot with a new event id.
func of(id string, version eventstore.Version, state string) snapshots.Snapshot {
	return snapshots.Snapshot{
		Key: key(id), Version: version, EventID: uuid.New(),
		Fingerprint: 0x0102_f304_05f6_0708, Schema: 3, Size: len(state), State: []byte(state),
	}
}

// save saves snapshots, all of which have to be taken.
func (s *store) save(all ...snapshots.Snapshot) {
	s.Helper()
	failed, err := s.Save(s.Context(), all)
	if err := errors.Join(append(failed, err)...); err != nil {
		s.Fatal(err)
	}
}

// load loads one snapshot.
func (s *store) load(k snapshots.Key) (snapshots.Snapshot, error) {
	s.Helper()
	found, failed, err := s.Load(s.Context(), []snapshots.Key{k})
	if err != nil {
		s.Fatal(err)
	}
	if len(found) != 1 || failed != nil && len(failed) != 1 {
		s.Fatalf("Load of one = %v, %v", found, failed)
	}
	if failed != nil {
		return found[0], failed[0]
	}
	return found[0], nil
}

// want fails the test unless this snapshot is there.
func (s *store) want(w snapshots.Snapshot) {
	s.Helper()
	got, err := s.load(w.Key)
	if err != nil || !equal(got, w) {
		s.Errorf("%s is %+v, %v; want %+v", w.Key, short(got), err, short(w))
	}
}

// wantNone fails the test if there is a snapshot.
func (s *store) wantNone(k snapshots.Key) {
	s.Helper()
	if got, err := s.load(k); err != nil || got.Version != 0 {
		s.Errorf("%s is %+v, %v; want none", k, short(got), err)
	}
}

// wantCorrupt fails the test unless what is there is no snapshot, and said to be none.
func (s *store) wantCorrupt(k snapshots.Key, what string) {
	s.Helper()
	if got, err := s.load(k); !errors.Is(err, snapshots.ErrCorrupt) || got.Version != 0 {
		s.Errorf("%s: loaded %+v, %v; want that it is corrupt", what, short(got), err)
	}
}

func equal(a, b snapshots.Snapshot) bool {
	x, y := string(a.State), string(b.State)
	a.State, b.State = nil, nil
	return x == y && a.Key == b.Key && a.Version == b.Version && a.EventID == b.EventID && a.Fingerprint == b.Fingerprint &&
		a.Schema == b.Schema && a.UTC == b.UTC && a.Zstd == b.Zstd && a.Size == b.Size
}

// short cuts a state so that it can be printed.
func short(a snapshots.Snapshot) snapshots.Snapshot {
	a.State = a.State[:min(len(a.State), 40)]
	return a
}

// setRaw stores bytes past the store.
func (s *store) setRaw(k snapshots.Key, b []byte) {
	s.Helper()
	if err := s.SetRaw(s.Context(), k, b); err != nil {
		s.Fatal(err)
	}
}

// raw returns the bytes that are stored.
func (s *store) raw(k snapshots.Key) []byte {
	s.Helper()
	b, err := s.Raw(s.Context(), k)
	if err != nil || len(b) == 0 {
		s.Fatalf("Raw(%s) = %d bytes, %v", k, len(b), err)
	}
	return b
}

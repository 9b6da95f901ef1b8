package snapshots

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// MaxStateBytes bounds an encoded state, before it is compressed.
const MaxStateBytes = 8 << 20

var (
	// ErrCorrupt is wrapped by errors about stored bytes that are no snapshot of the
	// stream and the definition they are kept under.
	ErrCorrupt = errors.New("corrupt snapshot")
	// ErrTooLarge is wrapped by errors about states larger than [MaxStateBytes].
	ErrTooLarge = errors.New("state too large for a snapshot")
)

// Key says what a snapshot is of.
type Key struct {
	// Definition names who folds the stream: "aggregate.cart". See [CheckDefinition].
	Definition string
	Stream     eventstore.StreamID
}

// String returns definition, colon, stream: "aggregate.cart:cart-42".
func (k Key) String() string { return k.Definition + ":" + k.Stream.String() }

// ParseKey reads the text form of a key.
func ParseKey(s string) (Key, error) {
	definition, name, _ := strings.Cut(s, ":")
	if err := CheckDefinition(definition); err != nil {
		return Key{}, err
	}
	stream, err := eventstore.ParseStreamID(name)
	if err != nil {
		return Key{}, err
	}
	return Key{Definition: definition, Stream: stream}, nil
}

// CheckDefinition returns an error unless name matches [a-z][a-z0-9_.]{0,99}.
func CheckDefinition(name string) error {
	ok := len(name) > 0 && len(name) <= 100 && 'a' <= name[0] && name[0] <= 'z'
	for i := 1; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.'
	}
	if !ok {
		return fmt.Errorf("snapshots: the definition %.110q does not match [a-z][a-z0-9_.]{0,99}", name)
	}
	return nil
}

// Snapshot is a state and what it was made of.
type Snapshot struct {
	Key
	// Version is that of the last event folded, from 1, and EventID the id of that
	// event.
	Version eventstore.Version
	EventID uuid.UUID
	// Fingerprint and Schema say which fold made it.
	Fingerprint uint64
	Schema      uint32
	// UTC says that the times in the state are in UTC, rather than in the local zone.
	UTC bool
	// Zstd says that State is compressed. Size is its length when it is not.
	Zstd bool
	Size int
	// State is the state in msgpack.
	State []byte
}

// Store keeps the newest snapshot of each key. It need not be durable: one that forgets
// makes loads slow, and nothing else. Implementations are safe for concurrent use by any
// number of processes, and pass the suite in snapshots/snapshottest.
//
// Methods block for as long as the backend takes, and end with their context where its
// client does.
type Store interface {
	// Load returns the snapshots under keys, in their order; the zero Snapshot where
	// there is none. One that cannot be read has its error, which wraps [ErrCorrupt],
	// at its place of failed, which is nil where all could be. When err is not nil the
	// backend is in trouble. All of them are in memory at once.
	Load(ctx context.Context, keys []Key) (found []Snapshot, failed []error, err error)

	// Save stores snapshots. One that is older than the snapshot there, and was made by
	// the same fold (fingerprint and schema), changes nothing, which is no error; any
	// other replaces what is there. Snapshots stand alone: failed, which is nil where
	// all went well, has at the place of each its error or nil. When err is not nil,
	// some may have been stored. A key occurs once.
	Save(ctx context.Context, snapshots []Snapshot) (failed []error, err error)

	// Delete deletes what is under keys.
	Delete(ctx context.Context, keys []Key) error

	// Keys yields the keys of a definition, in no particular order and in bounded
	// memory. A key that is there throughout is yielded at least once. It may be slow,
	// as it may look at every key the backend has. After an error the sequence ends.
	Keys(ctx context.Context, definition string) iter.Seq2[Key, error]
}

// Drop deletes all snapshots of a definition and returns how many there were. It is
// harmless at any time.
func Drop(ctx context.Context, s Store, definition string) (int, error) {
	dropped := 0
	for keys, err := range batches(s.Keys(ctx, definition)) {
		if err == nil {
			err = s.Delete(ctx, keys)
		}
		if err != nil {
			return dropped, fmt.Errorf("dropping the snapshots of %s: %w", definition, err)
		}
		dropped += len(keys)
	}
	return dropped, nil
}

// batchKeys is how many snapshots tools have in hand at a time.
const batchKeys = 64

// batches gathers keys. An error ends the sequence, after the keys before it.
func batches(keys iter.Seq2[Key, error]) iter.Seq2[[]Key, error] {
	return func(yield func([]Key, error) bool) {
		var batch []Key
		var failed error
		for k, err := range keys {
			if err != nil {
				failed = err
				break
			}
			batch = append(batch, k)
			if len(batch) == batchKeys {
				if !yield(batch, nil) {
					return
				}
				batch = nil
			}
		}
		if len(batch) > 0 && !yield(batch, nil) {
			return
		}
		if failed != nil {
			yield(nil, failed)
		}
	}
}

package snapshots

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// codec encodes and decodes states. It is the one that events have, because what is
// refused and what is compared follows its rules.
var codec = eventstore.MsgPack{MaxBytes: MaxStateBytes}

// States keeps the states that one definition folds streams to. It is safe for
// concurrent use and needs no closing; the store belongs to the caller.
//
// Its store is allowed to fail: Load then finds nothing and Save keeps nothing. Neither
// waits for it longer than a quarter of a second and two milliseconds per stream, and a
// store that failed is left alone for a second. Encoding and decoding come on top.
type States[S any] struct {
	config      Config
	definition  string
	fingerprint uint64
	times       bool // S has times in it
	store       bounded
}

// Entry is the state of a stream after the event at Version, whose id is EventID.
// Version 0 stands for none.
type Entry[S any] struct {
	Stream  eventstore.StreamID
	Version eventstore.Version
	EventID uuid.UUID
	State   S
}

// NewStates returns the states of a definition, see [CheckDefinition]. The fold is any
// text that changes when the fold does, see [eventstore.Folds.Fingerprint]; it becomes
// part of the fingerprint, and so does what msgpack makes of S. The initial state is the
// one before the first event.
//
// It is an error where the configuration makes no sense, or a state of this type, or
// this initial state, would not come back from msgpack as it was.
func NewStates[S any](config Config, definition, fold string, initial S) (*States[S], error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if err := CheckDefinition(definition); err != nil {
		return nil, err
	}
	fit, err := look(reflect.TypeFor[S]())
	if err != nil {
		return nil, err
	}
	s := &States[S]{
		config: config, definition: definition, times: fit.times,
		fingerprint: xxhash.Sum64String(fold + "\n" + fit.shape),
	}
	if _, err := s.encode(&Entry[S]{State: initial}); err != nil {
		return nil, fmt.Errorf("snapshots: the initial state of type %T: %w", initial, err)
	}
	return s, nil
}

// Due reports whether a snapshot shall be taken: see [Policy].
func (s *States[S]) Due(events int, load time.Duration) bool {
	return events > 0 && s.config.Policy(events, load)
}

// Load returns the states that snapshots hold of streams, in their order, with Version 0
// where there is none that this fold made. It waits for a limited time, see [States].
//
// A state that it returns is a beginning, and not yet to be trusted: the caller reads
// the stream from its version on, inclusive, and calls Report with what that told: Used
// where the event there has the entry's EventID, or else Ahead or Forked.
//
// The states share no memory, and are the caller's.
func (s *States[S]) Load(ctx context.Context, streams ...eventstore.StreamID) []Entry[S] {
	keys := s.keys(streams)
	l, err := call(ctx, &s.store, len(keys), func(ctx context.Context) (l loaded, err error) {
		l.found, l.failed, err = s.config.Store.Load(ctx, keys)
		return l, err
	})
	if err != nil {
		for _, k := range keys {
			s.observe(k.Stream, Unavailable, err)
		}
		l.found = make([]Snapshot, len(keys))
	}
	entries, corrupt := s.entries(keys, l, err == nil)
	s.discard(ctx, corrupt...)
	return entries
}

// Need is Load for streams that cannot be folded from their beginning, because that was
// removed: it waits for the store as long as ctx lasts, and the error is the store's.
func (s *States[S]) Need(ctx context.Context, streams ...eventstore.StreamID) ([]Entry[S], error) {
	keys := s.keys(streams)
	var l loaded
	var err error
	if l.found, l.failed, err = s.config.Store.Load(ctx, keys); err != nil {
		return nil, fmt.Errorf("snapshots of %s: %w", s.definition, err)
	}
	entries, _ := s.entries(keys, l, true)
	return entries, nil
}

// Anchor is where a snapshot stands: the event after which its state is the stream's.
type Anchor struct {
	Version eventstore.Version
	EventID uuid.UUID
}

// Anchors returns where the snapshots stand that [States.Need] returns.
func (s *States[S]) Anchors(ctx context.Context, streams ...eventstore.StreamID) ([]Anchor, error) {
	entries, err := s.Need(ctx, streams...)
	anchors := make([]Anchor, len(entries))
	for i, e := range entries {
		anchors[i] = Anchor{e.Version, e.EventID}
	}
	return anchors, err
}

// Forget deletes the snapshots of streams that are older than a version each, in their
// order, by whatever fold they were made: what they were made of is to be forgotten. It
// waits for the store as long as ctx lasts, and the error is the store's.
func (s *States[S]) Forget(ctx context.Context, streams []eventstore.StreamID, before []eventstore.Version) error {
	keys := s.keys(streams)
	found, failed, err := s.config.Store.Load(ctx, keys)
	var old []Key
	for i := range found {
		if found[i].Version < before[i] && (found[i].Version > 0 || failed != nil && failed[i] != nil) {
			old = append(old, keys[i])
		}
	}
	if err == nil && len(old) > 0 {
		err = s.config.Store.Delete(ctx, old)
	}
	if err != nil {
		return fmt.Errorf("snapshots of %s: %w", s.definition, err)
	}
	return nil
}

// loaded is what a store has of some keys.
type loaded struct {
	found  []Snapshot
	failed []error
}

// entries makes entries of what was loaded, and returns the keys of what is corrupt. It
// tells the observer, where told, why there are others than those in use.
func (s *States[S]) entries(keys []Key, l loaded, told bool) (entries []Entry[S], corrupt []Key) {
	entries = make([]Entry[S], len(keys))
	for i, k := range keys {
		entries[i].Stream = k.Stream
		var outcome Outcome
		var err error
		if l.failed != nil && l.failed[i] != nil {
			outcome, err = Corrupt, l.failed[i]
		} else {
			outcome, err = s.decode(&l.found[i], &entries[i])
		}
		if outcome != Used && told {
			s.observe(k.Stream, outcome, err)
		}
		if outcome == Corrupt {
			corrupt = append(corrupt, k)
		}
	}
	return entries, corrupt
}

// Report says what became of a state that Load returned. A snapshot that does not belong
// to the history of its stream is deleted: otherwise it could stand in the way of those
// to come, which may be older. Deleting is no more than tried, and takes a limited time.
func (s *States[S]) Report(ctx context.Context, stream eventstore.StreamID, outcome Outcome, err error) {
	s.observe(stream, outcome, err)
	if outcome == Ahead || outcome == Forked {
		s.discard(ctx, s.key(stream))
	}
}

// Save stores states as snapshots. A state must be one that came from its stream's events
// by the fold alone: what others have had in their hands they may have changed. It waits
// for a limited time, see [States], and keeps no reference to the states. What went wrong
// the observer learns; there is nothing to be done about it. A stream occurs once.
func (s *States[S]) Save(ctx context.Context, entries ...Entry[S]) {
	if err := s.store.resting(); err != nil {
		for i := range entries {
			s.observe(entries[i].Stream, Unsaved, err)
		}
		return
	}
	var batch []Snapshot
	for i := range entries {
		made, err := s.encode(&entries[i])
		switch {
		case err == nil:
			batch = append(batch, made)
		case errors.Is(err, ErrTooLarge):
			s.observe(entries[i].Stream, TooLarge, err)
		default:
			s.observe(entries[i].Stream, Unfaithful, err)
		}
	}
	if len(batch) == 0 {
		return
	}
	failed, err := call(ctx, &s.store, len(batch), func(ctx context.Context) ([]error, error) {
		return s.config.Store.Save(ctx, batch)
	})
	for i := range batch {
		why := err
		if why == nil && failed != nil {
			why = failed[i]
		}
		outcome := Saved
		if why != nil {
			outcome = Unsaved
		}
		s.observe(batch[i].Stream, outcome, why)
	}
}

// encode makes a snapshot of a state, and makes sure that it decodes to the same state.
func (s *States[S]) encode(e *Entry[S]) (made Snapshot, err error) {
	// A type's own encoder may panic; a snapshot is not worth the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("encoding %T: panic: %v", e.State, p)
		}
	}()
	original := reflect.ValueOf(&e.State).Elem()
	if err := alone(original); err != nil {
		return Snapshot{}, err
	}
	b, err := codec.Marshal(&e.State)
	if err != nil {
		return Snapshot{}, err
	}
	if len(b) > MaxStateBytes {
		return Snapshot{}, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(b), MaxStateBytes)
	}
	made = Snapshot{
		Key: s.key(e.Stream), Version: e.Version, EventID: e.EventID,
		Fingerprint: s.fingerprint, Schema: uint32(s.config.Schema), Size: len(b), State: b,
	}
	again := new(S)
	if err := codec.Unmarshal(b, again); err != nil {
		return Snapshot{}, err
	}
	back := reflect.ValueOf(again).Elem()
	if err = same(original, back); err != nil && s.times {
		inUTC(back)
		made.UTC = same(original, back) == nil
	}
	if err != nil && !made.UTC {
		return Snapshot{}, fmt.Errorf("the state does not come back as it was: %w", err)
	}
	if s.config.Zstd {
		made.pack()
	}
	return made, nil
}

// decode makes an entry of a snapshot, or says why it is none.
func (s *States[S]) decode(from *Snapshot, e *Entry[S]) (Outcome, error) {
	switch {
	case from.Version == 0:
		return Missing, nil
	case from.Schema != uint32(s.config.Schema):
		return OtherSchema, fmt.Errorf("it has schema %d, the fold here is schema %d", from.Schema, s.config.Schema)
	case from.Fingerprint != s.fingerprint:
		return OtherFold, fmt.Errorf("it was made by the fold %x, the one here is %x", from.Fingerprint, s.fingerprint)
	}
	b, err := from.unpacked()
	if err == nil {
		err = codec.Unmarshal(b, &e.State)
	}
	if err != nil {
		e.State = *new(S)
		return Corrupt, fmt.Errorf("%w of %s: %w", ErrCorrupt, from.Key, err)
	}
	if from.UTC {
		inUTC(reflect.ValueOf(&e.State).Elem())
	}
	e.Version, e.EventID = from.Version, from.EventID
	return Used, nil
}

// discard deletes snapshots, if it can.
func (s *States[S]) discard(ctx context.Context, keys ...Key) {
	if len(keys) == 0 {
		return
	}
	_, _ = call(ctx, &s.store, len(keys), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.config.Store.Delete(ctx, keys)
	})
}

func (s *States[S]) keys(streams []eventstore.StreamID) []Key {
	keys := make([]Key, len(streams))
	for i, stream := range streams {
		keys[i] = s.key(stream)
	}
	return keys
}

func (s *States[S]) key(stream eventstore.StreamID) Key {
	return Key{Definition: s.definition, Stream: stream}
}

func (s *States[S]) observe(stream eventstore.StreamID, outcome Outcome, err error) {
	s.config.Observer.ObserveSnapshot(Observation{Key: s.key(stream), Outcome: outcome, Err: err})
}

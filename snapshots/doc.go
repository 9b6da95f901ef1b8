// Package snapshots keeps states of streams, so that a long stream need not be folded
// from its beginning again. A snapshot saves time and decides nothing: any that is not
// certainly what the stream's own events add up to is ignored and counted, and the
// state is folded from version 1 on.
//
// # What makes a snapshot safe
//
//   - Its bytes carry a checksum, which also covers whose they are.
//   - It names the fold it was made by: a fingerprint of the events, of the folds and of
//     the Go type of the state, and [Config.Schema], a number that the programmer raises
//     when a fold changes what it does. A snapshot by another fold is ignored.
//   - It names the version and the id of the last event folded. Whoever uses it reads the
//     stream from that event on, inclusive. Where that event is missing, the stream is
//     behind the snapshot ([Ahead]); where another event is there, the history is another
//     one ([Forked]).
//   - Before it is stored it is decoded again and compared with the state it was made of,
//     field by field. A state that does not come back as it was is not stored.
//
// What no machine can see is a fold that does something else under the same names. That
// is what Schema is for, and [States.Verify] finds where it was forgotten: it folds
// streams again and compares.
//
// While programs with different folds run side by side, as during an upgrade, each takes
// the other's snapshots for missing and replaces them; that costs time alone.
//
// # States that can be kept
//
// States are encoded as msgpack. What msgpack would lose silently is refused when the
// program starts, by [NewStates], with the path of the field: fields that are unexported
// or tagged "-", interfaces, functions, channels. A type that encodes and decodes itself
// (EncodeMsgpack and DecodeMsgpack, or MarshalBinary, MarshalText and their opposites)
// may have any fields. What depends on the value is found when it is to be stored, and
// leaves that state without a snapshot ([Unfaithful]): two references to the same memory,
// which would come back as two copies, and times that are neither all local, as payloads
// are decoded, nor all UTC.
//
// # Who does what
//
// A [Store] keeps snapshots; the packages redis and postgres below are two, and pass the
// suite in snapshottest. [States] puts one store and one type of state together; the
// repository of an aggregate makes one of a [Config]. A [Policy] says when a snapshot is
// worth its while.
//
// # Reading the source
//
// store.go is the contract, envelope.go the stored form, states.go loads and saves,
// fit.go, alone.go and same.go see to it that nothing is lost, bounded.go that a store in
// trouble delays nobody, and verify.go compares, and check.go counts and drops.
package snapshots

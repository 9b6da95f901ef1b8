// Package eventstore is the contract of projectord's event store: streams of
// immutable events, one stream per entity, appended under optimistic
// concurrency and read back in version order.
//
// # Streams and versions
//
// A [StreamID] is a category and an id, written "cart-42". The events of a
// stream are numbered densely from 1; that number is the [Version]. An append
// states which version it expects the stream to have ([Exact], [NoStream],
// [StreamExists], [Any]) and fails with a [*ConflictError] when somebody else
// was faster.
//
// # Events
//
// An [Event] carries its payload as bytes. A [Registry] turns Go values into
// events and back: it maps (event name, schema version) to a Go type, holds the
// upcasters that lift older schemas, and says what an unknown type means. The
// payload format is a [Codec]; [MsgPack] is the one used unless told otherwise.
//
// # Exactly once
//
// Every event has an id. Appending the same ids again at the same place is
// success and marked [Appended.Duplicate], so an append whose reply was lost
// can simply be repeated.
//
// Backends live in sub-packages (redisstore); the package storetest holds the
// suite each of them passes.
package eventstore

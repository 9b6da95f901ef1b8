// Package projector derives read models from event streams.
//
// A projection says what is derived. There are three kinds:
//
//   - [NewState] declares one whose document per stream is folded from that
//     stream's events;
//   - [NewDelta] one whose events change rows that many streams share;
//   - [NewReactor] one whose events have something done outside.
//
// A [Sink] keeps what they make, and for each stream a [Checkpoint] that says how
// far it has been applied. The two change together, by one compare-and-set. That
// comparison is what makes effects happen exactly once: whoever starts from a
// checkpoint that has moved meanwhile is refused and changes nothing, so it does not
// matter how many workers work on a stream, or when they crash.
//
// [CatchUp] brings a projection from its checkpoints to the heads of its
// streams, in one process, and returns. A [Worker] keeps projections up to date
// together with any number of others, until it is stopped; [WaitFor] waits until a
// version is visible.
//
// Before anything is applied to a stream the event at its checkpoint is read again:
// if that is gone, is another event, or is followed by a gap, the stream's history
// changed under the read model. Such a stream is halted and reported, see
// [StreamError], and so is one with an event that cannot be applied; the others go
// on. A worker parks it: [ParkedStreams] lists what is parked, [Retry] and [Skip] have
// it go on. [Audit] looks for streams that something is wrong with and that nothing
// has noticed.
//
// Folds are deterministic: they see their state and an event, and nothing else.
package projector

// Package projector derives read models from event streams.
//
// A projection says what is derived: [NewState] declares one whose document per
// stream is folded from that stream's events. A [Sink] keeps the documents; each
// has a [Checkpoint] beside it that says how far its stream has been folded, and
// the two change together, by one compare-and-set. That comparison is what
// makes effects happen exactly once: whoever folds from a checkpoint that has
// moved meanwhile is refused and changes nothing, so it does not matter how many
// workers fold a stream, or when they crash.
//
// [CatchUp] brings a projection from its checkpoints to the heads of its
// streams, in one process. Before it applies anything to a stream it reads the
// event at the checkpoint again: if that is gone, is another event, or is
// followed by a gap, the stream's history changed under the read model. Such a
// stream is halted and reported, see [StreamError]; the others go on.
//
// Folds are deterministic: they see their state and an event, and nothing else.
package projector

// Package redissink keeps read models in Redis hashes: one hash per document,
// with the document's checkpoint inside, so that the compare-and-set concerns
// one key and is atomic on a single Redis and on Redis Cluster alike.
//
// # Keys and fields
//
// The document of key 42 of the model "cart:current" is the hash
// cart:current:42 in generation 1 and cart:current@2:42 in generation 2. In a
// namespace other than the default one, its name and a colon stand in front:
// shop:cart:current:42. Beside the document's own fields the hash has
//
//	_position  position of the last event folded, for example 7-0
//	_event     id of that event
//
// When the stream is deleted, so are all fields of the document. Those two stay, because
// the stream may be created anew and goes on from there, and a third says so:
//
//	_deleted   1 where there is no document
//
// It tells a document that is gone from one that has no fields. Whoever reads hashes has
// to take one with _deleted for none.
//
// Effects are kept in hashes of the same names, one per row, without those two
// fields. Their checkpoints are in the hashes {ns:p}:checkpoints:<projection>@<generation>,
// one per partition p, under the names of the streams; the hash {ns}:checkpoints says over
// how many partitions. See [Delta] and [Checkpoints].
//
// A reader in any language finds the generation to read at the projection's
// name in the hash {ns}:projections. [Reader] does so in Go.
package redissink

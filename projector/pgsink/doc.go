// Package pgsink keeps read models in Postgres tables. The schema is the namespace.
// The rows of the model "cart_summary" are in the table cart_summary_1 in generation
// 1, cart_summary_2 in generation 2, and so on. Readers use the view cart_summary,
// which shows the active generation.
//
// # Documents
//
// [Sink] keeps one row per document, with the document's checkpoint in the same row,
// so that the compare-and-set is the WHERE clause of an UPDATE. Beside the document
// each row has
//
//	_key       text, the document's key
//	_major     bigint, and
//	_minor     bigint: position of the last event folded, 7 and 0 for version 7
//	_event     uuid, id of that event
//	_deleted   boolean, true where the stream was deleted
//
// The document is either one column, document jsonb, or has a typed column per
// field, see [Column].
//
// Where 64 documents or more are committed that are all new, they are written by COPY. If
// one of them is there after all, Postgres refuses that, logs one ERROR of a duplicate key
// with the statement, and the rows are compared one by one: nothing is wrong then. Tables
// with row-level security take no COPY, so it is tried once after Begin, which logs one
// ERROR as well, and not again; likewise where a column was given another type since. The
// owner of a table with BEFORE INSERT triggers has to reckon with it that they are called
// again for a row when a commit is repeated, also where the row is there.
//
// When a stream is deleted its row stays for the checkpoint, because the stream may be
// created anew and goes on from there. The document's columns are NULL then, and the
// view does not show the row; it does not show _deleted either. As with all that is
// deleted in Postgres, the bytes are gone from the table once it was vacuumed. A NOT
// NULL that somebody else puts on a column of the document has Postgres refuse the
// deletion, and its stream is parked with that error.
//
// # Effects
//
// [Delta] keeps the rows that many streams share. They have a _key and the declared
// columns; those of integers are NOT NULL DEFAULT 0. The checkpoints of the streams
// are in the table _checkpoints, which package migrations creates: a generation has a
// partition there, _product_totals_1 for the table product_totals_1. A transaction
// moves the checkpoints of its streams, writes the rows those streams change, sorted
// by key, and calls what was added by [Exec].
//
// # Loading
//
// A generation that nobody reads yet can be loaded instead of committed to: rows are
// copied, chunk by chunk, into tables without keys, and those are made at the end. As
// long as that goes on there is a table of the chunks that were loaded, cart_summary@2
// for documents and _product_totals@2 for effects. Its unique key and the transaction
// that a chunk shares with it make each chunk count once. Effects have another table
// for what each chunk does to rows, product_totals@2, which is added up at the end.
package pgsink

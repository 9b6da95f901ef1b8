// Package pgsink keeps read models in Postgres tables: one row per document,
// with the document's checkpoint in the same row, so that the compare-and-set is
// the WHERE clause of an UPDATE.
//
// # Tables and columns
//
// The schema is the namespace. The documents of the model "cart_summary" are in
// the table cart_summary_1 in generation 1, cart_summary_2 in generation 2, and
// so on. Readers use the view cart_summary, which shows the active generation.
// Beside the document each row has
//
//	_key       text, the document's key
//	_major     bigint, and
//	_minor     bigint: position of the last event folded, 7 and 0 for version 7
//	_event     uuid, id of that event
//
// The document is either one column, document jsonb, or has a typed column per
// field, see [Column].
package pgsink

// Package guide runs the commands of a document as they are written there, and compares
// what they print with what the document says that they print. It is for tests.
//
// A document has blocks of commands, fenced by ```sh, and behind a block what it prints,
// fenced by ```text. All blocks of a document run in one shell, in an empty directory,
// with a Redis and a Postgres of their own. The words behind sh and text say what is
// different about a block:
//
//	sh exits 4     a command ends with code 4; all others of the block with 0
//	sh exits 4 7   one ends with 4, and a later one with 7
//	text           its lines are printed in this order, among others; what numbers, times
//	               and ids are does not matter
//	text exact     numbers matter too
//	text varies    what is printed may be something else
//
// A block that is fenced by something else is not looked at.
//
// follow.go finds the documents, blocks.go reads the blocks of one, run.go runs them, and
// compare.go compares what was printed.
package guide

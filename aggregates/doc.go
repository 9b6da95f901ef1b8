// Package aggregates models the entities of a domain: the state that an
// entity's events add up to, and the commands that decide which events come
// next.
//
// # Model
//
// A [Definition], made by [Define], belongs to one category of streams. It is
// filled with one fold per event type by [On], and it holds the registry of
// those types. A fold sees the state and the event and nothing else, no clock and
// no I/O, so that the same events always give the same state.
//
// # Commands
//
// A [Repository] brings a definition and an event store together.
// [Repository.Execute] folds the entity's stream, lets a function decide, and
// appends what it decided under the version it decided on. Where somebody else
// was faster, it folds the stream again and lets the function decide again.
// Nothing is locked in the store; a command takes effect on exactly the state it
// was decided on, once, or not at all.
//
// # Reading the source
//
// definition.go is what a program declares, load.go folds a stream, execute.go
// is the loop of a command, turns.go keeps the commands of one process from
// racing each other, cache.go keeps states warm in between, and snapshots.go keeps
// them beyond the process. The package aggregatestest tests decisions as Given, When,
// Then.
package aggregates

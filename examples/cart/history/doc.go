// Package history brings the past of a real shop into an event store: it reads
// invoice lines (csv) or events (ndjson), packed or not, and appends them as the
// events of package shop, in order and exactly once.
//
// [Open] finds out by content what it is given; csv.go and ndjson.go each turn
// one of the two forms into a sequence of [Fact]; [Import] appends that sequence.
package history

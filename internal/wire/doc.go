// Package wire has connections to a Redis on which commands are written and replies
// read as bytes, with nothing in between. It is for reading a lot: go-redis hands on a
// raw reply in pieces of a line or a value, with an allocation for each value.
//
// Whom to connect to, and how, stays go-redis' business: it dials, by the options of
// the caller's client, and shakes hands; then its connection is taken over.
package wire

// Package chaos breaks everything that can break beneath running workers, and
// looks afterwards whether an effect was lost, doubled or out of order.
//
// [Run] has workers, each a process of its own, project what producers append all
// the while. Workers are killed, or stopped for longer than their sessions live, at
// random moments and at named places of their work, see [Point]; the servers, and
// the nodes of a cluster in turn, are killed, stalled and cut off. In the end all
// projections have to be at the heads of their streams and to hold what a pure fold of
// the events gives. The effects are rows of a table that has no unique constraint, so
// that one that happened twice shows.
//
// Nothing of that is in the code under test: the worker is given stores, sinks and
// connections that stop where they are told to.
//
// The program that calls [Run] is also the worker: its main function, or TestMain,
// begins with [Child].
package chaos

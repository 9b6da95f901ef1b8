// Package redisstore keeps an [eventstore.Store] in Redis: one Redis stream per
// entity, whose entry ids are the versions of its events (<version>-0).
//
// The same code runs on a single Redis (also behind Sentinel), on Redis Cluster
// and on the in-process server that the examples use. It needs Redis 7.0 or
// newer, or Valkey, with the eviction policy noeviction.
//
// # Where things are
//
//   - internal/keyspace builds every key.
//   - lua/ has one script per file; each file's header lists its keys,
//     arguments and replies. scripts.go loads them.
//   - append.go decides what goes into a script call, commit.go gathers
//     concurrent appends, read.go reads, entries.go parses replies.
//
// # Connections
//
// Events are read by connections of the store's own, which are dialled by the options of
// the client, its hooks left out: one for each [Store.Read] that is waiting for a reply and
// for each [Store.ReadMany], during its visits too; closed after five seconds without use. A
// context that ends cuts them, also where a visit does not return, and others may take
// their places. They come on top of the client's: to each server as many as
// its PoolSize, or its MaxActiveConns where that is less, so a server may see twice that.
// Who wants more waits for PoolTimeout. Behind Sentinel each takes one of the client's
// connections along while it is open, at most half of them, which is rounded up: PoolSize
// should be 4 or more there.
//
// A connection is opened with a PING by the client and one on its own: a user of Redis who
// may not PING can append, but not read.
//
// Appends go by the client, and by its hooks. The memory of a script call's arguments is
// used again for the next, so a hook that wants them for longer than the call takes a copy.
package redisstore

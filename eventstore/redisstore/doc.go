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
package redisstore

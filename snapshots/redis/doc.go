// Package redis keeps snapshots in Redis: a string {ns:p}:snapshot:<definition>:<stream>
// each, in the slot of the stream it is of. It works on a single Redis, on Redis Cluster
// and on the server in the process. The Redis may be another one than that of the
// events, and may evict or lose snapshots: they only save time.
package redis

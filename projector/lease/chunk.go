package lease

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Chunk is some streams of one partition, handed out as one unit. Nobody has a lease
// on them: what is committed is guarded by the compare-and-set alone, also against
// another worker that has come to the same stream by the log.
type Chunk struct {
	Partition int
	ID        string
	// Heads are the streams and the versions they have to be brought to, at least.
	Heads []Head
	// Again says that it was handed out before: some of it may be done.
	Again bool
}

// Events returns how many events a chunk has, by its heads.
func (c *Chunk) Events() (n uint64) {
	for _, h := range c.Heads {
		n += h.Head
	}
	return n
}

// Builder is a session's part in a backfill. It is safe for concurrent use.
type Builder struct {
	*Backfill
	session *Session
}

// Join returns the session's part in the backfill.
func (b *Backfill) Join(s *Session) *Builder { return &Builder{b, s} }

// Codes of the script take.
const (
	codeUnfilled = 1
	codeNone     = 2
)

// Take gives the session a chunk of a partition: one that nobody has, or else one
// of a dead session, or else one that the session has been given by a call whose
// reply was lost, which is any that known does not know. It returns nil where there
// is none, or the partition is not filled yet. It does not wait.
func (b *Builder) Take(ctx context.Context, partition int, known func(id string) bool) (*Chunk, error) {
	if err := b.session.Err(); err != nil {
		return nil, err
	}
	key := b.log.keys.Backfill(partition, b.group)
	entry, filled, err := b.first(ctx, partition, key)
	if err != nil || !filled {
		return nil, err
	}
	again := entry == nil
	if entry == nil {
		entry, err = b.sweep(ctx, partition, key)
	}
	for after := "0-0"; err == nil && entry == nil; {
		entry, err = b.read(ctx, key, after)
		if entry == nil {
			break
		}
		if after = entry.ID; known(after) {
			entry = nil
		}
	}
	if err != nil || entry == nil {
		return nil, b.failed(partition, "taking a chunk", err)
	}
	c, err := b.unpack(partition, entry)
	if err != nil {
		return nil, err
	}
	c.Again = again
	return c, nil
}

// first takes a chunk that nobody has, nil where there is none. It reports whether the
// partition is filled.
func (b *Builder) first(ctx context.Context, partition int, key string) (entry *redis.XMessage, filled bool, err error) {
	replies, err := b.log.once(ctx, "taking a chunk", b.log.scripts.take, []call{{
		partition: partition,
		keys:      []string{b.log.keys.Sessions(partition), key, b.log.keys.Backfilled(partition, b.group)},
		args:      []any{b.group, b.session.name},
	}})
	if err != nil {
		return nil, false, err
	}
	if err := b.fenced(partition, replies[0]); err != nil {
		return nil, false, err
	}
	switch reply := replies[0].(type) {
	case int64:
		if reply == codeUnfilled || reply == codeNone {
			return nil, reply == codeNone, nil
		}
	case []any:
		if len(reply) == 2 {
			id, _ := reply[0].(string)
			packed, _ := reply[1].(string)
			return &redis.XMessage{ID: id, Values: map[string]any{keyspace.ChunkField: packed}}, true, nil
		}
	}
	return nil, false, strange("taking a chunk", replies[0])
}

// read reads the next entry that the session has been given, nil where there is none.
func (b *Builder) read(ctx context.Context, key, after string) (*redis.XMessage, error) {
	replies, err := b.log.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: b.group, Consumer: b.session.name, Streams: []string{key, after}, Count: 1, Block: -1,
	}).Result()
	if errors.Is(err, redis.Nil) || err == nil && (len(replies) == 0 || len(replies[0].Messages) == 0) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &replies[0].Messages[0], nil
}

// sweep takes over a chunk of a dead session, nil where there is none.
func (b *Builder) sweep(ctx context.Context, partition int, key string) (*redis.XMessage, error) {
	replies, err := b.log.once(ctx, "sweeping the backfill", b.log.scripts.sweep, []call{{
		partition: partition,
		keys:      []string{b.log.keys.Sessions(partition), key, b.log.keys.Draining(partition)},
		args:      []any{b.group, b.session.name, 1},
	}})
	if err != nil {
		return nil, err
	}
	if err := b.fenced(partition, replies[0]); err != nil {
		return nil, err
	}
	_, entries, err := parseSwept(replies[0])
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	return &entries[0], nil
}

func (b *Builder) unpack(partition int, e *redis.XMessage) (*Chunk, error) {
	packed, _ := e.Values[keyspace.ChunkField].(string)
	c := &Chunk{Partition: partition, ID: e.ID}
	if err := msgpack.Unmarshal([]byte(packed), &c.Heads); err != nil || len(c.Heads) == 0 {
		return nil, b.failed(partition, "reading chunk "+e.ID, errors.Join(errors.New("it is not one"), err))
	}
	return c, nil
}

// Done ends the work on a chunk: the checkpoint of each of its streams, loaded after
// the last commit, is at its head or beyond, or a pointer in the log says that it is
// not. It reports whether the chunk was the session's.
func (b *Builder) Done(ctx context.Context, c *Chunk) (bool, error) {
	if err := b.session.Err(); err != nil {
		return false, err
	}
	replies, err := b.log.run(ctx, "ending a chunk", b.log.scripts.done, []call{{
		partition: c.Partition,
		keys: []string{
			b.log.keys.Sessions(c.Partition), b.log.keys.Backfill(c.Partition, b.group), b.log.keys.Backfilled(c.Partition, b.group),
		},
		args: []any{b.group, b.session.name, c.ID, len(c.Heads), c.Events()},
	}})
	if err != nil {
		return false, err
	}
	if err := b.fenced(c.Partition, replies[0]); err != nil {
		return false, err
	}
	return replies[0] == int64(codeDone), nil
}

func (b *Builder) fenced(partition int, reply any) error {
	if reply == int64(codeFenced) {
		return b.session.fenced(partition)
	}
	return nil
}

func (b *Builder) failed(partition int, doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lease: %s, partition %d, key %s: %w", doing, partition, b.log.keys.Backfill(partition, b.group), redisx.Explain(err))
}

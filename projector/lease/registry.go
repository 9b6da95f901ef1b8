package lease

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Entry is a stream of a registry that is kept by [Log.Enter], and not by an event store.
type Entry struct {
	Stream string
	// Info is what is to be known of it.
	Info []byte
	// Head is the number of its last announcement, 0 where it is not in the registry.
	Head uint64
	// Token is a number that [Member.Entries] gives, above all that were given for the
	// stream before, 0 where the stream is not the session's. Numbers follow the clock of the
	// server, so they grow also where it has lost the last one, unless its clock is set back.
	Token uint64
}

// Enter puts streams into the registry, each with its Info, and leaves pointers for those
// that were not in it: they are then undelivered. One that was in it has the new Info and
// a higher head, so that whoever has it cannot finish it before having seen that. Each
// stream is entered wholly or not at all. After an error some may have been entered;
// entering them again is harmless. Whether that is done by the caller or here, after a
// lost reply, a stream that was finished in between is entered anew.
func (l *Log) Enter(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	// A kilobyte of info counts like a pointer, so that no call is very large.
	batches := l.batches(len(entries), func(i int) (string, int) { return entries[i].Stream, len(entries[i].Info) / 1024 })
	calls := make([]call, len(batches))
	for i, b := range batches {
		args := make([]any, 0, 2*len(b.items))
		for _, item := range b.items {
			args = append(args, entries[item].Stream, entries[item].Info)
		}
		keys := l.keys
		calls[i] = call{
			partition: b.partition,
			keys:      []string{keys.Heads(b.partition), keys.Log(b.partition), keys.Info(b.partition), keys.Numbers(b.partition)},
			args:      args,
		}
	}
	_, err := l.run(ctx, "announcing", l.scripts.enter, calls)
	return err
}

// Entries tells what the registry has of streams, in their order, and gives a token for
// each that the session has leased. The error wraps [ErrFenced] when the session is dead.
func (m *Member) Entries(ctx context.Context, streams []string) ([]Entry, error) {
	if err := m.session.Err(); err != nil || len(streams) == 0 {
		return nil, err
	}
	batches := m.log.batches(len(streams), func(i int) (string, int) { return streams[i], 0 })
	calls := make([]call, len(batches))
	for i, b := range batches {
		args := []any{m.session.name}
		for _, item := range b.items {
			args = append(args, streams[item])
		}
		keys := m.log.keys
		calls[i] = call{
			partition: b.partition,
			keys: []string{
				keys.Sessions(b.partition), keys.Heads(b.partition), keys.Info(b.partition),
				keys.Numbers(b.partition), keys.Leases(b.partition, m.group.name),
			},
			args: args,
		}
	}
	const doing = "looking at what was leased"
	replies, err := m.log.run(ctx, doing, m.log.scripts.entries, calls)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(streams))
	for i, b := range batches {
		if err := m.fenced(b.partition, replies[i]); err != nil {
			return nil, err
		}
		list, ok := replies[i].([]any)
		if !ok || len(list) != 3*len(b.items) {
			return nil, strange(doing, replies[i])
		}
		for k, item := range b.items {
			token, ok1 := list[3*k].(int64)
			head, ok2 := list[3*k+1].(string)
			info, ok3 := list[3*k+2].(string)
			number, err := strconv.ParseUint(head, 10, 64)
			if !ok1 || !ok2 || !ok3 || err != nil {
				return nil, strange(doing+", "+streams[item], list[3*k:3*k+3])
			}
			entries[item] = Entry{Stream: streams[item], Info: []byte(info), Head: number, Token: uint64(token)}
		}
	}
	return entries, nil
}

// Registered is a stream of the registry as others see it.
type Registered struct {
	Entry
	// Session is the one that has the stream, which may be dead; empty where none has.
	Session string
}

// Registry returns the streams that are in the registry of a partition, each once and in no
// order, with who has them. Those entered or finished meanwhile may be missing or not. An
// error ends the sequence.
func (g *Group) Registry(ctx context.Context, partition int) iter.Seq2[Registered, error] {
	return func(yield func(Registered, error) bool) {
		var page []Registered
		flush := func() bool {
			if err := g.describe(ctx, partition, page); err != nil {
				yield(Registered{}, err)
				return false
			}
			for _, e := range page {
				if !yield(e, nil) {
					return false
				}
			}
			page = page[:0]
			return true
		}
		for f, err := range g.log.fields(ctx, "listing what is announced", g.log.keys.Heads(partition)) {
			if err != nil {
				yield(Registered{}, err)
				return
			}
			head, _ := strconv.ParseUint(f.value, 10, 64) // one that is no number is of no announcement
			page = append(page, Registered{Entry: Entry{Stream: f.name, Head: head}})
			if len(page) == fieldsPage && !flush() {
				return
			}
		}
		if len(page) > 0 {
			flush()
		}
	}
}

// describe adds to streams of a partition their infos and sessions.
func (g *Group) describe(ctx context.Context, partition int, streams []Registered) error {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = s.Stream
	}
	err := redisx.Retry(ctx, func() error {
		var infos, sessions *redis.SliceCmd
		_, err := g.log.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			infos = pipe.HMGet(ctx, g.log.keys.Info(partition), names...)
			sessions = pipe.HMGet(ctx, g.log.keys.Leases(partition, g.name), names...)
			return nil
		})
		if err != nil {
			return err
		}
		for i := range streams {
			info, _ := infos.Val()[i].(string)
			streams[i].Info = []byte(info)
			streams[i].Session, _ = sessions.Val()[i].(string)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("lease: listing what is announced, partition %d: %w", partition, redisx.Explain(err))
	}
	return nil
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// EntryID is the id of an entry of a log: the milliseconds of the server's clock when it
// was written, and a number among those of the same. The zero EntryID stands before all.
type EntryID struct{ Millis, Number uint64 }

// ParseEntryID reads the text form, such as "1700000000000-0".
func ParseEntryID(text string) (EntryID, error) {
	millis, number, found := strings.Cut(text, "-")
	a, err1 := strconv.ParseUint(millis, 10, 64)
	b, err2 := strconv.ParseUint(number, 10, 64)
	if !found || err1 != nil || err2 != nil {
		return EntryID{}, fmt.Errorf("lease: %.80q is no entry id: one is of the form 1700000000000-0", text)
	}
	return EntryID{a, b}, nil
}

// String returns the text form.
func (id EntryID) String() string {
	return strconv.FormatUint(id.Millis, 10) + "-" + strconv.FormatUint(id.Number, 10)
}

// Place is where somebody who follows a partition's log stands: at an entry. It is not
// the zero Place unless the log was empty.
type Place struct {
	Entry EntryID
	// Done says that the entry itself is done with. Otherwise it is the next to read.
	Done bool
}

// From is what is to be read of a partition.
type From struct {
	Partition int
	Place
}

// Followed is what was read of a partition.
type Followed struct {
	// Trimmed says that entries behind the place were removed, or the log is another
	// one: whoever followed it has missed something. Nothing was read.
	//
	// It is exact on a server but for two cases, in which nothing was missed: the one
	// entry that is gone is that of a place that is done with, or an append took its
	// pointer back. The embedded server tells less: there everything behind the zero
	// Place, too, counts as removed.
	Trimmed bool
	// Pointers are what was found, in the order of the log. Entries that are none are
	// left out.
	Pointers []Pointer
	// Place is where to go on.
	Place Place
	// More says that there may be more to read at once.
	More bool
}

// Follow reads the logs of partitions, each from a place on and at most count entries of
// each, for somebody who is in no group: it gives nobody anything, and changes nothing.
// It does not wait for entries. One round trip.
func (l *Log) Follow(ctx context.Context, from []From, count int) ([]Followed, error) {
	const doing = "following"
	if len(from) == 0 {
		return nil, nil
	}
	if count < 1 {
		return nil, fmt.Errorf("lease: following: count is %d; it is 1 or more", count)
	}
	calls := make([]call, len(from))
	for i, f := range from {
		calls[i] = call{partition: f.Partition, keys: []string{l.keys.Log(f.Partition)}, args: []any{f.Entry.String(), f.Done, count}}
	}
	replies, err := l.run(ctx, doing, l.scripts.follow, calls)
	if err != nil {
		return nil, err
	}
	all := make([]Followed, len(from))
	for i, reply := range replies {
		if all[i], err = l.followed(from[i], reply, count); err != nil {
			return nil, l.failed(doing, from[i].Partition, err)
		}
	}
	return all, nil
}

// followed reads a reply of the script.
func (l *Log) followed(from From, reply any, count int) (Followed, error) {
	f := Followed{Place: from.Place}
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return f, strange("following", reply)
	}
	entries, ok := parts[1].([]any)
	if !ok {
		return f, strange("following", reply)
	}
	if f.Trimmed = parts[0] == int64(1); f.Trimmed {
		return f, nil
	}
	for _, e := range entries {
		entry, ok := message(e)
		if !ok {
			return f, strange("following", e)
		}
		if pointer, ok := l.pointer(from.Partition, entry); ok {
			f.Pointers = append(f.Pointers, pointer)
		}
		id, err := ParseEntryID(entry.ID)
		if err != nil {
			return f, err
		}
		f.Place = Place{id, true}
	}
	f.More = len(entries) == count
	return f, nil
}

// message reads an entry as scripts return it.
func message(e any) (redis.XMessage, bool) {
	parts, _ := e.([]any)
	if len(parts) != 2 {
		return redis.XMessage{}, false
	}
	id, ok1 := parts[0].(string)
	pairs, ok2 := parts[1].([]any)
	values := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		values[name] = pairs[i+1]
	}
	return redis.XMessage{ID: id, Values: values}, ok1 && ok2
}

// Outset returns, for each partition, the place from which to follow the log for somebody
// who knows what the group has done until now: whatever it has outstanding, undelivered
// or pending, lies behind, and maybe some that it has not. Where the group does not exist
// that is everything the log has. One round trip; it changes nothing.
func (g *Group) Outset(ctx context.Context) ([]Place, error) {
	const doing = "finding the beginning"
	calls := make([]call, g.log.Partitions())
	for p := range calls {
		calls[p] = call{partition: p, keys: []string{g.log.keys.Log(p)}, args: []any{g.name}}
	}
	replies, err := g.log.run(ctx, doing, g.log.scripts.outset, calls)
	if err != nil {
		return nil, err
	}
	places := make([]Place, len(replies))
	for p, reply := range replies {
		parts, ok := reply.([]any)
		if !ok || len(parts) != 2 {
			return nil, strange(doing, reply)
		}
		id, _ := parts[0].(string)
		if places[p].Entry, err = ParseEntryID(id); err != nil {
			return nil, g.log.failed(doing, p, err)
		}
		places[p].Done = parts[1] == int64(1)
	}
	return places, nil
}

// Newest returns the ids of the newest entries of the logs of partitions, in their order,
// zero where a log has none. One round trip.
func (l *Log) Newest(ctx context.Context, partitions []int) ([]EntryID, error) {
	newest := make([]EntryID, len(partitions))
	err := redisx.Retry(ctx, func() error {
		pipe := l.client.Pipeline()
		cmds := make([]*redis.XMessageSliceCmd, len(partitions))
		for i, p := range partitions {
			cmds[i] = pipe.XRevRangeN(ctx, l.keys.Log(p), "+", "-", 1)
		}
		pipe.Exec(ctx)
		for i, cmd := range cmds {
			entries, err := cmd.Result()
			newest[i] = EntryID{}
			if err == nil && len(entries) > 0 {
				newest[i], err = ParseEntryID(entries[0].ID)
			}
			if err != nil {
				return l.failed("finding the newest entry", partitions[i], err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return newest, nil
}

// AreParked says which of the streams are parked, in their order. One round trip.
func (g *Group) AreParked(ctx context.Context, streams []string) ([]bool, error) {
	byKey := make(map[string][]int)
	for i, stream := range streams {
		key := g.log.keys.Parked(g.log.keys.Partition(stream), g.name)
		byKey[key] = append(byKey[key], i)
	}
	parked := make([]bool, len(streams))
	err := redisx.Retry(ctx, func() error {
		pipe := g.log.client.Pipeline()
		cmds := make(map[string]*redis.SliceCmd, len(byKey))
		for key, places := range byKey {
			names := make([]string, len(places))
			for n, i := range places {
				names[n] = streams[i]
			}
			cmds[key] = pipe.HMGet(ctx, key, names...)
		}
		pipe.Exec(ctx)
		var failures []error
		for key, cmd := range cmds {
			found, err := cmd.Result()
			if err != nil {
				failures = append(failures, fmt.Errorf("lease: asking whether streams are parked: key %s: %w", key, redisx.Explain(err)))
				continue
			}
			for n, i := range byKey[key] {
				parked[i] = found[n] != nil
			}
		}
		return errors.Join(failures...)
	})
	if err != nil {
		return nil, err
	}
	return parked, nil
}

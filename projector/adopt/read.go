package adopt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/internal/redisx"
)

// got is what reading a key came to.
type got struct {
	entries []Entry
	// ended says that there was nothing behind them when added and last were as they say.
	ended bool
	asked bool  // about added and last
	added int64 // entries that were ever added, or Unknown
	last  ID    // the last id that was given
	gone  bool  // there is no such key
	anew  bool  // it is another one than that which was read before
	err   error // of this key alone: it is no stream
}

// reader reads keys of one Redis.
type reader struct {
	client  redis.UniversalClient
	cluster bool
}

func newReader(client redis.UniversalClient) *reader {
	_, cluster := client.(*redis.ClusterClient)
	return &reader{client, cluster}
}

// xread returns the command that reads keys behind their positions.
func xread(ctx context.Context, count int, block time.Duration, names []string, from []ID) *redis.Cmd {
	args := []any{"XREAD", "COUNT", count}
	if block > 0 {
		args = append(args, "BLOCK", block.Milliseconds())
	}
	args = append(args, "STREAMS")
	first := len(args)
	for _, name := range names {
		args = append(args, name)
	}
	for _, id := range from {
		args = append(args, id.String())
	}
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetFirstKeyPos(int8(first))
	return cmd
}

// read reads up to count entries of each key: on a single Redis by one command.
func (r *reader) read(ctx context.Context, names []string, from []ID, count int) (all []got, err error) {
	err = redisx.Retry(ctx, func() error {
		all = make([]got, len(names))
		if !r.cluster {
			cmd := xread(ctx, count, 0, names, from)
			_ = r.client.Process(ctx, cmd)
			entries, err := entriesOf(cmd)
			if !redis.HasErrorPrefix(err, "WRONGTYPE") {
				for i, name := range names {
					all[i].entries = entries[name]
				}
				return err
			}
		}
		// One by one, so that the key that is no stream is known.
		cmds := make([]*redis.Cmd, len(names))
		pipe := r.client.Pipeline()
		for i := range names {
			cmds[i] = xread(ctx, count, 0, names[i:i+1], from[i:i+1])
			_ = pipe.Process(ctx, cmds[i])
		}
		_, _ = pipe.Exec(ctx)
		for i, name := range names {
			entries, err := entriesOf(cmds[i])
			switch {
			case redis.HasErrorPrefix(err, "WRONGTYPE"):
				all[i].err = errors.New("it is no stream")
			case err != nil:
				return err
			}
			all[i].entries = entries[name]
		}
		return nil
	})
	return all, err
}

// ends reads on, and asks in the same transaction what Redis knows of each key.
func (r *reader) ends(ctx context.Context, names []string, from []ID, count int) ([]got, error) {
	all := make([]got, len(names))
	if !r.cluster {
		err := r.endsOf(ctx, names, from, count, all)
		return all, err
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(reads)
	for i := range names {
		group.Go(func() error { return r.endsOf(within, names[i:i+1], from[i:i+1], count, all[i:i+1]) })
	}
	return all, group.Wait()
}

func (r *reader) endsOf(ctx context.Context, names []string, from []ID, count int, all []got) error {
	return redisx.Retry(ctx, func() error {
		pipe := r.client.TxPipeline()
		entries, infos := make([]*redis.Cmd, len(names)), make([]*redis.Cmd, len(names))
		for i := range names {
			entries[i] = xread(ctx, count, 0, names[i:i+1], from[i:i+1])
			infos[i] = xinfo(ctx, names[i])
			_ = pipe.Process(ctx, entries[i])
			_ = pipe.Process(ctx, infos[i])
		}
		if _, err := pipe.Exec(ctx); err != nil && !redisx.IsReply(err) && !errors.Is(err, redis.Nil) {
			return err
		}
		for i, name := range names {
			found, err := entriesOf(entries[i])
			if redis.HasErrorPrefix(err, "WRONGTYPE") {
				all[i] = got{err: errors.New("it is no stream")}
				continue
			}
			if err != nil {
				return err
			}
			g := got{entries: found[name], ended: len(found[name]) < count}
			if err := g.told(infos[i]); err != nil {
				return err
			}
			all[i] = g
		}
		return nil
	})
}

// infos asks what Redis knows of each key.
func (r *reader) infos(ctx context.Context, names []string) (all []got, err error) {
	err = redisx.Retry(ctx, func() error {
		all = make([]got, len(names))
		cmds := make([]*redis.Cmd, len(names))
		pipe := r.client.Pipeline()
		for i, name := range names {
			cmds[i] = xinfo(ctx, name)
			_ = pipe.Process(ctx, cmds[i])
		}
		_, _ = pipe.Exec(ctx)
		for i := range names {
			err := all[i].told(cmds[i])
			switch {
			case redis.HasErrorPrefix(err, "WRONGTYPE"):
				all[i].err = errors.New("it is no stream")
			case err != nil:
				return err
			}
		}
		return nil
	})
	return all, err
}

// wait waits until one of the keys has a new entry, for a while at the most, and returns
// which have.
func (r *reader) wait(ctx context.Context, names []string, from []ID, atMost time.Duration) (news map[string][]Entry) {
	begin := time.Now()
	cmd := xread(ctx, 1, atMost, names, from)
	err := r.client.Process(ctx, cmd)
	if err != nil && !errors.Is(err, redis.Nil) {
		pause(ctx, atMost-time.Since(begin)) // the next read tells what is wrong
		return nil
	}
	news, _ = entriesOf(cmd)
	return news
}

// xinfo returns the command that asks what Redis knows of a key.
func xinfo(ctx context.Context, name string) *redis.Cmd {
	cmd := redis.NewCmd(ctx, "XINFO", "STREAM", name)
	cmd.SetFirstKeyPos(2)
	return cmd
}

// told notes what Redis knows of a key.
func (g *got) told(cmd *redis.Cmd) error {
	reply, err := cmd.Result()
	if err != nil && redisx.IsReply(err) && strings.Contains(err.Error(), "no such key") {
		g.asked, g.gone = true, true
		return nil
	}
	if err != nil {
		return err
	}
	g.asked, g.added = true, Unknown
	for name, value := range pairs(reply) {
		switch name {
		case "entries-added":
			if n, ok := value.(int64); ok {
				g.added = n
			}
		case "last-generated-id":
			if text, ok := value.(string); ok {
				if g.last, err = ParseID(text); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// pairs returns a reply of names and values, in either protocol.
func pairs(reply any) map[string]any {
	all := make(map[string]any)
	switch reply := reply.(type) {
	case map[any]any:
		for name, value := range reply {
			all[fmt.Sprint(name)] = value
		}
	case []any:
		for i := 0; i+1 < len(reply); i += 2 {
			all[fmt.Sprint(reply[i])] = reply[i+1]
		}
	}
	return all
}

// entriesOf returns the entries of a reply to XREAD, by key.
func entriesOf(cmd *redis.Cmd) (map[string][]Entry, error) {
	reply, err := cmd.Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string][]Entry)
	if byKey, ok := reply.([]any); ok && len(byKey) > 0 {
		if _, nested := byKey[0].([]any); nested { // [[key, entries], …] in place of {key: entries, …}
			flat := make([]any, 0, 2*len(byKey))
			for _, pair := range byKey {
				pair, _ := pair.([]any)
				flat = append(flat, pair...)
			}
			reply = flat
		}
	}
	for name, list := range pairs(reply) {
		entries, ok := list.([]any)
		for _, one := range entries {
			e, err := entryOf(name, one)
			if err != nil {
				return nil, err
			}
			all[name] = append(all[name], e)
		}
		if !ok {
			return nil, fmt.Errorf("the entries of %s are a %T", clip(name), list)
		}
	}
	return all, nil
}

func entryOf(name string, reply any) (Entry, error) {
	e := Entry{Key: name}
	pair, _ := reply.([]any)
	if len(pair) != 2 {
		return e, fmt.Errorf("an entry of %s is a %T", clip(name), reply)
	}
	text, _ := pair[0].(string)
	values, _ := pair[1].([]any)
	var err error
	if e.ID, err = ParseID(text); err != nil {
		return e, fmt.Errorf("key %s: %w", clip(name), err)
	}
	e.Fields = make([]Field, 0, len(values)/2)
	for i := 0; i+1 < len(values); i += 2 {
		field, _ := values[i].(string)
		value, _ := values[i+1].(string)
		e.Fields = append(e.Fields, Field{field, value})
	}
	return e, nil
}

// scan calls found with the streams that match a pattern, some at a time, and takes its
// time: at the most a fifth of that of a server.
func (r *reader) scan(ctx context.Context, pattern string, found func([]string) error) error {
	return redisx.EachMaster(ctx, r.client, func(ctx context.Context, master *redis.Client) error {
		for cursor := uint64(0); ; {
			begin := time.Now()
			var names []string
			err := redisx.Retry(ctx, func() (err error) {
				names, cursor, err = master.ScanType(ctx, cursor, pattern, 1000, "stream").Result()
				return err
			})
			if err != nil {
				return redisx.Explain(err)
			}
			took := time.Since(begin)
			if len(names) > 0 {
				if err := found(names); err != nil {
					return err
				}
			}
			if cursor == 0 {
				return nil
			}
			pause(ctx, 4*took)
		}
	})
}

package lease

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/internal/redisx"
)

// Backfill is what a new generation of a projection is built from: every stream
// there was when it began, in chunks that are handed out as one unit each, in one
// queue per partition. What is appended after its group was created comes by the
// log, as for every generation. It is safe for concurrent use.
type Backfill struct {
	log   *Log
	group string
}

// Backfill returns the backfill of a group. The group exists before the backfill is
// filled, or what is appended meanwhile would be in neither.
func (l *Log) Backfill(group string) *Backfill { return &Backfill{log: l, group: group} }

// Head is a stream and its version.
type Head struct {
	Stream string
	Head   uint64
}

// EncodeMsgpack implements [msgpack.CustomEncoder].
func (h *Head) EncodeMsgpack(e *msgpack.Encoder) error { return e.EncodeMulti(h.Stream, h.Head) }

// DecodeMsgpack implements [msgpack.CustomDecoder].
func (h *Head) DecodeMsgpack(d *msgpack.Decoder) error { return d.DecodeMulti(&h.Stream, &h.Head) }

// ErrFilling is wrapped by the error of [Backfill.Fill] where somebody else began to
// fill it later.
var ErrFilling = errors.New("somebody else fills it")

// chunkStreams and chunkEvents bound a chunk. A stream that is longer has one of its
// own.
const (
	chunkStreams = 1000
	chunkEvents  = 20_000
)

// Codes of the script fill.
const (
	codeFilling = 0
	codeFilled  = 2
)

// Fill fills the queues with all streams there are, which heads yields at least once
// each. What an earlier call left that did not come to its end is dropped, so heads
// yields from the beginning again. Partitions that were filled before stay as they
// are. Nothing is handed out of a partition before it is filled. Each stream is in one
// chunk; the names are kept in memory for that.
func (b *Backfill) Fill(ctx context.Context, heads iter.Seq2[Head, error]) error {
	f := filling{Backfill: b, me: uuid.NewString(), open: make([]*chunk, b.log.Partitions()), seen: make(map[string]bool)}
	for p := range f.open {
		filled, err := f.call(ctx, p, "begin")
		if err != nil {
			return err
		}
		if !filled {
			f.open[p] = new(chunk)
		}
	}
	for h, err := range heads {
		if err != nil {
			return err
		}
		if err := f.add(ctx, h); err != nil {
			return err
		}
	}
	for p, c := range f.open {
		if c == nil {
			continue
		}
		if err := f.flush(ctx, p); err != nil {
			return err
		}
		if _, err := f.call(ctx, p, "end", c.number); err != nil {
			return err
		}
	}
	return nil
}

// filling is a call of Fill.
type filling struct {
	*Backfill
	me   string
	open []*chunk // by partition; nil where it was filled before
	seen map[string]bool
}

// chunk is a chunk that takes more.
type chunk struct {
	heads  []Head
	events uint64
	number int // how many came before it in the partition
}

func (f *filling) add(ctx context.Context, h Head) error {
	p := f.log.keys.Partition(h.Stream)
	c := f.open[p]
	if c == nil || f.seen[h.Stream] {
		return nil
	}
	f.seen[h.Stream] = true
	if len(c.heads) == chunkStreams || c.events+h.Head > chunkEvents {
		if err := f.flush(ctx, p); err != nil {
			return err
		}
	}
	c.heads = append(c.heads, h)
	c.events += h.Head
	return nil
}

func (f *filling) flush(ctx context.Context, p int) error {
	c := f.open[p]
	if len(c.heads) == 0 {
		return nil
	}
	packed, err := msgpack.Marshal(c.heads)
	if err != nil {
		return err
	}
	c.number++
	_, err = f.call(ctx, p, "add", c.number, packed, len(c.heads), c.events)
	c.heads, c.events = c.heads[:0], 0
	return err
}

// call calls the script, which may be repeated.
func (f *filling) call(ctx context.Context, partition int, what string, args ...any) (filled bool, err error) {
	replies, err := f.log.run(ctx, "filling the backfill", f.log.scripts.fill, []call{{
		partition: partition,
		keys:      []string{f.log.keys.Backfill(partition, f.group), f.log.keys.Backfilled(partition, f.group)},
		args:      append([]any{f.group, f.me, what}, args...),
	}})
	if err != nil {
		return false, err
	}
	switch replies[0] {
	case int64(codeDone):
		return false, nil
	case int64(codeFilled):
		return true, nil
	case int64(codeFilling):
		return false, fmt.Errorf("lease: filling the backfill of %s, partition %d: %w", f.group, partition, ErrFilling)
	}
	return false, strange("filling the backfill", replies[0])
}

// Progress is how far the work on a backfill has come.
type Progress struct {
	// Filled is how many partitions are filled, of Partitions. The other numbers
	// grow as long as it is not all of them.
	Filled, Partitions int
	// Streams and Events are how many there are, StreamsDone and EventsDone how
	// many of those were built in.
	Streams, StreamsDone, Events, EventsDone uint64
	// Chunks is how many are left.
	Chunks int
	// Workers says which workers, by their names, built in how many of the events.
	Workers map[string]uint64
}

// eventsBy is what the fields begin with that say what a worker did.
const eventsBy = "events_by:"

// Done reports whether nothing is left to do.
func (p Progress) Done() bool { return p.Filled == p.Partitions && p.Chunks == 0 }

// Progress returns how far the work has come. One round trip.
func (b *Backfill) Progress(ctx context.Context) (Progress, error) {
	sum := Progress{Partitions: b.log.Partitions(), Workers: make(map[string]uint64)}
	states := make([]*redis.MapStringStringCmd, sum.Partitions)
	lengths := make([]*redis.IntCmd, sum.Partitions)
	err := redisx.Retry(ctx, func() error {
		pipe := b.log.client.Pipeline()
		for p := range states {
			// The state first: what it says is filled is in the queue or done.
			states[p] = pipe.HGetAll(ctx, b.log.keys.Backfilled(p, b.group))
			lengths[p] = pipe.XLen(ctx, b.log.keys.Backfill(p, b.group))
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return Progress{}, fmt.Errorf("lease: progress of the backfill of %s: %w", b.group, redisx.Explain(err))
	}
	for p, state := range states {
		values := state.Val()
		if values["filled"] != "" {
			sum.Filled++
		}
		for name, to := range map[string]*uint64{
			"streams": &sum.Streams, "streams_done": &sum.StreamsDone, "events": &sum.Events, "events_done": &sum.EventsDone,
		} {
			n, _ := strconv.ParseUint(values[name], 10, 64)
			*to += n
		}
		for name, value := range values {
			if worker, ok := strings.CutPrefix(name, eventsBy); ok {
				n, _ := strconv.ParseUint(value, 10, 64)
				sum.Workers[worker] += n
			}
		}
		sum.Chunks += int(lengths[p].Val())
	}
	return sum, nil
}

// Drop deletes a backfill, a partition at a time.
func (b *Backfill) Drop(ctx context.Context) error {
	for p := range b.log.Partitions() {
		err := redisx.Retry(ctx, func() error {
			return b.log.client.Unlink(ctx, b.log.keys.Backfill(p, b.group), b.log.keys.Backfilled(p, b.group)).Err()
		})
		if err != nil {
			return fmt.Errorf("lease: dropping the backfill of %s, key %s: %w", b.group, b.log.keys.Backfill(p, b.group), redisx.Explain(err))
		}
	}
	return nil
}

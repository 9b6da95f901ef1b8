package lease

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Delivery is an entry of a log that a session was given and has not settled.
type Delivery struct {
	Group     string
	Partition int
	// Session is who was given it last, and State how that stands.
	Session string
	State   SessionState
	// Idle is how long ago that was.
	Idle time.Duration
	// Times is how often it was given to a session: more than once where a session took
	// it over from another, or read again what it had after an error.
	Times int64
	// Age is how old the entry is, by the clock of its server.
	Age time.Duration
	// Pointer is what the entry says: its ID, and after [Log.Name] the stream, which is
	// empty where the entry is no pointer or was deleted from the log.
	Pointer
}

// Compare orders deliveries by the age of their entries, the oldest first.
func (d Delivery) Compare(other Delivery) int {
	return cmp.Or(compareIDs(d.ID, other.ID), cmp.Compare(d.Group, other.Group), cmp.Compare(d.Partition, other.Partition))
}

const (
	// deliveryPage is how many entries of a partition a call lists, and deliveryCalls how
	// many partitions are looked at in a round trip.
	deliveryPage  = 1000
	deliveryCalls = 16
)

// Deliveries returns the oldest entries that are pending in the group, so many of each
// partition at the most, all where limit is 0; with consumers, of those only. They come
// without their streams, those of a partition the oldest first, in pages of 1,000 at the
// most, so that no call takes long. It writes nothing. While others work it is no
// snapshot: an entry may be settled by the time it comes. A partition that has no such
// group, because it was lost or deleted there, has nothing pending, and the others are
// listed all the same. An error ends the sequence.
func (g *Group) Deliveries(ctx context.Context, limit int, of ...Consumer) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		var names []string
		for _, c := range of {
			names = append(names, c.name())
		}
		slices.Sort(names)
		names = slices.Compact(names) // one may be there in two states
		var parts []part
		for p := range g.log.Partitions() {
			if len(names) == 0 {
				parts = append(parts, part{partition: p, from: "-", left: limit})
			}
			for _, name := range names {
				parts = append(parts, part{partition: p, consumer: name, from: "-", left: limit})
			}
		}
		for some := range slices.Chunk(parts, deliveryCalls) {
			for len(some) > 0 {
				pages, err := g.deliveries(ctx, some)
				if err != nil {
					yield(Delivery{}, err)
					return
				}
				var unfinished []part
				for i, page := range pages {
					for _, d := range page {
						if !yield(d, nil) {
							return
						}
					}
					asked := some[i].page()
					if some[i].left -= len(page); len(page) == asked && (limit == 0 || some[i].left > 0) {
						some[i].from = next(page[len(page)-1].ID)
						unfinished = append(unfinished, some[i])
					}
				}
				some = unfinished
			}
		}
	}
}

// part is what is pending in a partition, for everybody or for one consumer.
type part struct {
	partition      int
	consumer, from string
	left           int // how many are wanted, not positive for all
}

// page is how many entries are asked for.
func (p part) page() int {
	if p.left <= 0 {
		return deliveryPage
	}
	return min(p.left, deliveryPage)
}

// deliveries returns the next page of each part.
func (g *Group) deliveries(ctx context.Context, parts []part) ([][]Delivery, error) {
	const doing, fields = "listing what is pending", 6
	keys := g.log.keys
	calls := make([]call, len(parts))
	for i, p := range parts {
		calls[i] = call{
			partition: p.partition, keys: []string{keys.Sessions(p.partition), keys.Log(p.partition), keys.Draining(p.partition)},
			args: []any{g.name, p.from, p.page()},
		}
		if p.consumer != "" {
			calls[i].args = append(calls[i].args, p.consumer)
		}
	}
	replies, err := g.log.run(ctx, doing, g.log.scripts.pending, calls)
	if err != nil {
		return nil, err
	}
	pages := make([][]Delivery, len(parts))
	for i, reply := range replies {
		list, ok := reply.([]any)
		if !ok || len(list)%fields != 0 {
			return nil, strange(doing, reply)
		}
		for of := range slices.Chunk(list, fields) {
			id, ok1 := of[0].(string)
			session, ok2 := of[1].(string)
			state, ok3 := of[2].(int64)
			idle, ok4 := of[3].(int64)
			times, ok5 := of[4].(int64)
			age, ok6 := of[5].(int64)
			if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
				return nil, strange(doing, of)
			}
			d := Delivery{
				Group: g.name, Partition: parts[i].partition, Pointer: Pointer{ID: id}, Session: session,
				State: []SessionState{Dead, Live, Draining}[min(max(state, 0), 2)],
				Idle:  time.Duration(idle) * time.Millisecond, Times: times, Age: time.Duration(age) * time.Millisecond,
			}
			if name, left := strings.CutSuffix(session, leftSuffix); left {
				d.Session, d.State = name, Left
			}
			pages[i] = append(pages[i], d)
		}
	}
	return pages, nil
}

// Name looks up what the entries say, in round trips of 1,000.
func (l *Log) Name(ctx context.Context, deliveries []Delivery) error {
	for some := range slices.Chunk(deliveries, deliveryPage) {
		err := redisx.Retry(ctx, func() error {
			pipe := l.client.Pipeline()
			entries := make([]*redis.XMessageSliceCmd, len(some))
			for i, d := range some {
				entries[i] = pipe.XRange(ctx, l.keys.Log(d.Partition), d.ID, d.ID)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
			for i := range some {
				for _, e := range entries[i].Val() {
					if pointer, ok := l.pointer(some[i].Partition, e); ok {
						some[i].Pointer = pointer
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("lease: looking up what is pending: %w", redisx.Explain(err))
		}
	}
	return nil
}

package lease

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
)

// Pointer says that a stream has grown to a head.
type Pointer struct {
	// ID is the entry of the log that it is. Smaller ones were written earlier,
	// see [ByStream] about order.
	ID string
	// Stream is the stream's name.
	Stream string
	// Head is the stream's version when the pointer was written, 0 where the
	// entry does not say. It may have grown since.
	Head uint64
}

// Malformed is an entry of a log that is no pointer of its partition.
type Malformed struct {
	Group     string
	Partition int
	ID        string
	// Fields is what the entry holds; nil where it was deleted from the log
	// while it was pending.
	Fields map[string]any
}

// Batch is what a member was given by a read or a sweep.
type Batch struct {
	Pointers []Pointer
	// Wake lists the partitions to sweep now: a session that had something
	// pending stopped there.
	Wake []int
	// Left says that a session leaves, which concerns all partitions: each is to be swept
	// soon.
	Left bool
	// Malformed are entries that are no pointers of their partition. They are
	// acknowledged, and do not come again.
	Malformed []Malformed
}

// ByStream gathers pointers into a claim for each stream, in the order of their
// first pointers.
func ByStream(pointers []Pointer) []Claim {
	var claims []Claim
	at := make(map[string]int, len(pointers))
	for _, p := range pointers {
		i, ok := at[p.Stream]
		if !ok {
			i = len(claims)
			at[p.Stream] = i
			claims = append(claims, Claim{Stream: p.Stream})
		}
		claims[i].Pointers = append(claims[i].Pointers, p.ID)
	}
	return claims
}

// pointer reads an entry of a partition's log, and reports whether it is one.
func (l *Log) pointer(partition int, e redis.XMessage) (Pointer, bool) {
	stream, _ := e.Values[keyspace.PointerStream].(string)
	if stream == "" || l.keys.Partition(stream) != partition {
		return Pointer{}, false
	}
	text, _ := e.Values[keyspace.PointerHead].(string)
	head, _ := strconv.ParseUint(text, 10, 64) // 0 where it is no number
	return Pointer{ID: e.ID, Stream: stream, Head: head}, true
}

// sort adds the entries of a partition's log to the batch. It returns those that
// are no pointers, which the caller acknowledges.
func (b *Batch) sort(l *Log, group string, partition int, entries []redis.XMessage) (spent []string) {
	for _, e := range entries {
		if pointer, ok := l.pointer(partition, e); ok {
			b.Pointers = append(b.Pointers, pointer)
			continue
		}
		spent = append(spent, e.ID)
		stream, _ := e.Values[keyspace.PointerStream].(string)
		if by, wake := e.Values[keyspace.WakeField]; wake && stream == "" {
			name, _ := by.(string)
			b.Left = b.Left || strings.HasSuffix(name, leftSuffix)
			if !slices.Contains(b.Wake, partition) {
				b.Wake = append(b.Wake, partition)
			}
		} else {
			b.Malformed = append(b.Malformed, Malformed{Group: group, Partition: partition, ID: e.ID, Fields: e.Values})
		}
	}
	return spent
}

// acknowledge ends entries that are no pointers. If it fails they come again
// with the next [Member.ReadPending].
func (m *Member) acknowledge(ctx context.Context, spent map[int][]string) {
	if len(spent) == 0 {
		return
	}
	pipe := m.log.client.Pipeline()
	for partition, ids := range spent {
		pipe.XAck(ctx, m.log.keys.Log(partition), m.group.name, ids...)
		if m.log.config.OneGroup {
			pipe.XDel(ctx, m.log.keys.Log(partition), ids...)
		}
	}
	pipe.Exec(ctx)
}

// compareIDs orders entry ids of a stream, which are <milliseconds>-<number>.
func compareIDs(a, b string) int {
	aMillis, aNumber, _ := strings.Cut(a, "-")
	bMillis, bNumber, _ := strings.Cut(b, "-")
	if c := compareNumbers(aMillis, bMillis); c != 0 {
		return c
	}
	return compareNumbers(aNumber, bNumber)
}

// compareNumbers orders decimal numbers without leading zeros.
func compareNumbers(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

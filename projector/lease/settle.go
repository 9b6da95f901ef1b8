package lease

import (
	"context"
	"strconv"
)

// Result is what became of a settlement.
type Result uint8

const (
	// Done means that the stream is committed to its head: the lease is dropped
	// and the pointers are acknowledged.
	Done Result = 1 + iota
	// Behind means that the head is another than the version that was
	// committed. The lease stays and the caller goes on.
	Behind
	// NotMine means that the lease is not the caller's and nothing was written:
	// claim the pointers again. It is also the answer to a settlement that was
	// done before and whose reply was lost.
	NotMine
)

// String returns the result's name in lower case.
func (r Result) String() string {
	switch r {
	case Done:
		return "done"
	case Behind:
		return "behind"
	case NotMine:
		return "not mine"
	}
	return "Result(" + strconv.Itoa(int(r)) + ")"
}

// Settlement says that a stream is committed to a version.
type Settlement struct {
	Stream  string
	Version uint64
	// Pointers are the ids of all pointers of the stream that the caller has
	// claimed. Those that arrived since are claimed afterwards.
	Pointers []string
}

// Settled is the answer to a [Settlement].
type Settled struct {
	Stream string
	Result Result
	// Head is the stream's head, 0 where none is registered.
	Head uint64
}

// Settle ends the work on streams whose committed version is their head. Like
// [Member.Claim] it takes any number of streams in one round trip and answers in
// their order; the errors are alike.
func (m *Member) Settle(ctx context.Context, settlements []Settlement) ([]Settled, error) {
	return m.settle(ctx, settlements, false)
}

// Finish is [Member.Settle] for streams that were put into the registry by [Log.Enter], and
// takes them out of it together with what is to be known of them. Their version is the head
// that [Member.Entries] told, or 0 where it told none.
//
// Finish makes one attempt: after an error the streams may be finished or not, and a caller
// that tries again knows what [NotMine] can mean then. A stream that it finds not to be the
// session's, with the head that it gave, was certainly not finished.
func (m *Member) Finish(ctx context.Context, settlements []Settlement) ([]Settled, error) {
	return m.settle(ctx, settlements, true)
}

func (m *Member) settle(ctx context.Context, settlements []Settlement, finish bool) ([]Settled, error) {
	if err := m.session.Err(); err != nil || len(settlements) == 0 {
		return nil, err
	}
	batches := m.log.batches(len(settlements), func(i int) (string, int) {
		return settlements[i].Stream, len(settlements[i].Pointers)
	})
	calls := make([]call, len(batches))
	for i, b := range batches {
		calls[i] = m.settleCall(b, settlements)
		if finish {
			calls[i].keys = append(calls[i].keys, m.log.keys.Info(b.partition))
		}
	}
	run := m.log.run
	if finish {
		run = m.log.once
	}
	replies, err := run(ctx, "settling", m.log.scripts.settle, calls)
	if err != nil {
		return nil, err
	}
	settled := make([]Settled, len(settlements))
	for i, b := range batches {
		if err := m.fenced(b.partition, replies[i]); err != nil {
			return nil, err
		}
		results, ok := replies[i].([]any)
		if !ok || len(results) != 2*len(b.items) {
			return nil, strange("settling", replies[i])
		}
		for k, item := range b.items {
			code, _ := results[2*k].(int64)
			if code < int64(Done) || code > int64(NotMine) {
				return nil, strange("settling "+settlements[item].Stream, results[2*k])
			}
			text, _ := results[2*k+1].(string)
			head, _ := strconv.ParseUint(text, 10, 64) // a head that is no number is none
			settled[item] = Settled{Stream: settlements[item].Stream, Result: Result(code), Head: head}
		}
	}
	return settled, nil
}

func (m *Member) settleCall(b *batch, settlements []Settlement) call {
	keys := m.log.keys
	args := make([]any, 0, 2+3*len(b.items)+b.pointers)
	args = append(args, m.group.name, m.session.name)
	for _, i := range b.items {
		s := settlements[i]
		args = append(args, s.Stream, strconv.FormatUint(s.Version, 10), len(s.Pointers))
		for _, id := range s.Pointers {
			args = append(args, id)
		}
	}
	return call{
		partition: b.partition,
		keys: []string{
			keys.Sessions(b.partition), keys.Log(b.partition),
			keys.Leases(b.partition, m.group.name), keys.Heads(b.partition),
		},
		args: args,
	}
}

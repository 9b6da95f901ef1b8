package lease

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// Verdict is what became of a claim.
type Verdict uint8

const (
	// Leased means that the stream was free, or its session dead, and is the
	// caller's now.
	Leased Verdict = 1 + iota
	// Mine means that the stream was the caller's already, perhaps by an earlier
	// attempt of the same claim whose reply was lost: a caller that does not
	// know of it begins to work on it.
	Mine
	// Elsewhere means that another session, which lives, has the stream and
	// will see its head before it can settle. The pointers are acknowledged:
	// forget them.
	Elsewhere
	// Parked means that the stream is parked. The pointers are acknowledged:
	// forget them.
	Parked
	// Gone means that none of the pointers is pending for the caller any more:
	// forget them.
	Gone
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	names := [...]string{Leased: "leased", Mine: "mine", Elsewhere: "elsewhere", Parked: "parked", Gone: "gone"}
	if int(v) < len(names) && names[v] != "" {
		return names[v]
	}
	return "Verdict(" + strconv.Itoa(int(v)) + ")"
}

// Claim asks for a stream by pointers that were given to the session.
type Claim struct {
	Stream string
	// Pointers are the ids of one or more pointers of this stream.
	Pointers []string
}

// Claimed is the answer to a [Claim].
type Claimed struct {
	Stream  string
	Verdict Verdict
	// Pointers are those of the claim that the caller shall keep until the
	// stream is settled, with [Leased] and [Mine] only. Others of the claim are
	// no longer pending for it.
	Pointers []string
}

// Claim decides for each stream whether the session works on it. Claims of any
// partitions and any number go into one round trip, 256 streams to a script call.
// The answers are in the order of the claims.
//
// The error wraps [ErrFenced] when the session is dead. After any other error
// some claims may have been granted; claiming again finds out.
func (m *Member) Claim(ctx context.Context, claims []Claim) ([]Claimed, error) {
	claimed, _, err := m.claim(ctx, claims, "")
	return claimed, err
}

// ClaimFor is [Member.Claim] that also counts, in the same round trip and after the
// claims were decided, how many events the projection leaves out in each partition
// concerned; see [Log.Skipped]. What was skipped before a stream could be claimed is
// counted then.
func (m *Member) ClaimFor(ctx context.Context, projection string, claims []Claim) (claimed []Claimed, skipped map[int]int, err error) {
	return m.claim(ctx, claims, projection)
}

func (m *Member) claim(ctx context.Context, claims []Claim, projection string) ([]Claimed, map[int]int, error) {
	if err := m.session.Err(); err != nil || len(claims) == 0 {
		return nil, nil, err
	}
	for _, c := range claims {
		if len(c.Pointers) == 0 {
			return nil, nil, fmt.Errorf("lease: claiming %s: there are no pointers", c.Stream)
		}
	}
	batches := m.log.batches(len(claims), func(i int) (string, int) { return claims[i].Stream, len(claims[i].Pointers) })
	calls := make([]call, len(batches))
	for i, b := range batches {
		calls[i] = m.claimCall(b, claims)
		if projection != "" {
			calls[i].count = m.log.keys.Skipped(b.partition, projection)
		}
	}
	replies, err := m.log.run(ctx, "claiming", m.log.scripts.claim, calls)
	if err != nil {
		return nil, nil, err
	}
	claimed, skipped := make([]Claimed, len(claims)), make(map[int]int)
	for i, b := range batches {
		if err := m.fenced(b.partition, replies[i]); err != nil {
			return nil, nil, err
		}
		if counted := calls[i].counted; counted != nil {
			skipped[b.partition] = max(skipped[b.partition], int(counted.Val()))
		}
		verdicts, ok := replies[i].([]any)
		if !ok || len(verdicts) != len(b.items) {
			return nil, nil, strange("claiming", replies[i])
		}
		for k, item := range b.items {
			if claimed[item], err = parseClaimed(claims[item], verdicts[k]); err != nil {
				return nil, nil, err
			}
		}
	}
	return claimed, skipped, nil
}

func (m *Member) claimCall(b *batch, claims []Claim) call {
	keys := m.log.keys
	smallest, largest := "", ""
	args := make([]any, 4, 4+2*len(b.items)+b.pointers)
	for _, i := range b.items {
		c := claims[i]
		args = append(args, c.Stream, len(c.Pointers))
		for _, id := range c.Pointers {
			args = append(args, id)
			if smallest == "" || compareIDs(id, smallest) < 0 {
				smallest = id
			}
			if largest == "" || compareIDs(id, largest) > 0 {
				largest = id
			}
		}
	}
	args[0], args[1], args[2], args[3] = m.group.name, m.session.name, smallest, largest
	return call{
		partition: b.partition,
		keys: []string{
			keys.Sessions(b.partition), keys.Log(b.partition),
			keys.Leases(b.partition, m.group.name), keys.Parked(b.partition, m.group.name),
		},
		args: args,
	}
}

// parseClaimed reads what the script returned for one stream: a code, or a code
// and the pointers it concerns.
func parseClaimed(c Claim, reply any) (Claimed, error) {
	kept := c.Pointers
	code, plain := reply.(int64)
	if list, ok := reply.([]any); ok && len(list) > 0 {
		code, plain = list[0].(int64)
		kept = make([]string, 0, len(list)-1)
		for _, id := range list[1:] {
			text, _ := id.(string)
			kept = append(kept, text)
		}
	}
	if !plain || code < int64(Leased) || code > int64(Gone) {
		return Claimed{}, strange("claiming "+c.Stream, reply)
	}
	claimed := Claimed{Stream: c.Stream, Verdict: Verdict(code)}
	if claimed.Verdict == Leased || claimed.Verdict == Mine {
		claimed.Pointers = slices.Clone(kept)
	}
	return claimed, nil
}

package lease

import (
	"context"
	"iter"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Outstanding is a pointer that the group has not done with.
type Outstanding struct {
	Pointer
	// Pending says that it was given to a session.
	Pending bool
	// Session is the one it is pending for, dead or alive; empty where it is
	// not pending.
	Session string
}

// outstandingPage is how many pointers one round trip brings.
const outstandingPage = 1000

// Outstanding returns the pointers of a partition that are undelivered or
// pending, in pages of 1,000. Entries that are no pointers, or that were deleted
// from the log, are left out. An error ends the sequence.
//
// While others work it is no snapshot: a pointer may come twice, or be settled by
// the time it comes. But none is missed that is outstanding from the call to the
// end of the sequence: undelivered pointers become pending ones, so it looks at
// the undelivered ones first, then at the pending ones, and then in the same order
// at those that were added meanwhile.
func (g *Group) Outstanding(ctx context.Context, partition int) iter.Seq2[Outstanding, error] {
	return func(yield func(Outstanding, error) bool) {
		w := &walk{ctx: ctx, group: g, partition: partition, yield: yield}
		err := w.round("0-0")
		if err == nil && !w.over {
			err = w.round(w.last)
		}
		if err != nil && !w.over {
			yield(Outstanding{}, g.log.failed("listing what is outstanding", partition, err))
		}
	}
}

// walk is one run of [Group.Outstanding].
type walk struct {
	ctx       context.Context
	group     *Group
	partition int
	yield     func(Outstanding, error) bool
	over      bool   // the caller wants no more
	last      string // the newest entry when the round began
}

// round looks at the entries above an id that are there when it begins.
func (w *walk) round(above string) error {
	delivered, last, err := w.bounds()
	if err != nil {
		return err
	}
	w.last = last
	from := above
	if compareIDs(delivered, from) > 0 {
		from = delivered
	}
	if err := w.undelivered(from, last); err != nil || w.over {
		return err
	}
	return w.pending(above, last)
}

// bounds returns the id the group was last given and the newest of the log.
func (w *walk) bounds() (delivered, last string, err error) {
	key := w.group.log.keys.Log(w.partition)
	err = redisx.Retry(w.ctx, func() error {
		pipe := w.group.log.client.Pipeline()
		groups := pipe.XInfoGroups(w.ctx, key)
		newest := pipe.XRevRangeN(w.ctx, key, "+", "-", 1)
		if _, err := pipe.Exec(w.ctx); err != nil {
			return err
		}
		delivered, last = "", "0-0"
		for _, info := range groups.Val() {
			if info.Name == w.group.name {
				delivered = info.LastDeliveredID
			}
		}
		for _, e := range newest.Val() {
			last = e.ID
		}
		if delivered == "" {
			return redisx.ReplyError("NOGROUP No such consumer group '" + w.group.name + "' for key name '" + key + "'")
		}
		return nil
	})
	return delivered, last, err
}

// undelivered yields the entries above one id, up to another.
func (w *walk) undelivered(above, last string) error {
	for compareIDs(above, last) < 0 {
		var entries []redis.XMessage
		err := redisx.Retry(w.ctx, func() (err error) {
			entries, err = w.group.log.client.XRangeN(w.ctx, w.group.log.keys.Log(w.partition), "("+above, last, outstandingPage).Result()
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !w.give(e, "") {
				return nil
			}
			above = e.ID
		}
		if len(entries) < outstandingPage {
			return nil
		}
	}
	return nil
}

// pending yields the entries above one id, up to another, that are pending for
// anybody.
func (w *walk) pending(above, last string) error {
	for compareIDs(above, last) < 0 {
		page, entries, err := w.pendingPage(next(above), last)
		if err != nil {
			return err
		}
		for i, p := range page {
			if len(entries[i]) > 0 && !w.give(entries[i][0], p.Consumer) {
				return nil
			}
			above = p.ID
		}
		if len(page) < outstandingPage {
			return nil
		}
	}
	return nil
}

// pendingPage returns what is pending from one id up to another, and the entry of
// each if the log still has it.
func (w *walk) pendingPage(from, last string) (page []redis.XPendingExt, entries [][]redis.XMessage, err error) {
	key, client := w.group.log.keys.Log(w.partition), w.group.log.client
	err = redisx.Retry(w.ctx, func() (err error) {
		page, err = client.XPendingExt(w.ctx, &redis.XPendingExtArgs{
			Stream: key, Group: w.group.name, Start: from, End: last, Count: outstandingPage,
		}).Result()
		if err != nil || len(page) == 0 {
			return err
		}
		pipe := client.Pipeline()
		cmds := make([]*redis.XMessageSliceCmd, len(page))
		for i, p := range page {
			cmds[i] = pipe.XRange(w.ctx, key, p.ID, p.ID)
		}
		if _, err := pipe.Exec(w.ctx); err != nil {
			return err
		}
		entries = make([][]redis.XMessage, len(page))
		for i, cmd := range cmds {
			entries[i] = cmd.Val()
		}
		return nil
	})
	return page, entries, err
}

// give yields an entry if it is a pointer, and reports whether to go on.
func (w *walk) give(e redis.XMessage, session string) bool {
	if pointer, ok := w.group.log.pointer(w.partition, e); ok {
		w.over = !w.yield(Outstanding{Pointer: pointer, Pending: session != "", Session: session}, nil)
	}
	return !w.over
}

// next returns the smallest id above another.
func next(id string) string {
	millis, number, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseUint(number, 10, 64)
	if n+1 == 0 {
		m, _ := strconv.ParseUint(millis, 10, 64)
		return strconv.FormatUint(m+1, 10) + "-0"
	}
	return millis + "-" + strconv.FormatUint(n+1, 10)
}

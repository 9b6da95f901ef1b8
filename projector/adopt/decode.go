package adopt

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// decoding is a call of the decoder for entries of a key, in a goroutine of its own, since
// nothing else ends one that does not return.
type decoding struct {
	at        atomic.Int64 // the entry that it is at
	abandoned atomic.Bool
	done      chan decoded
}

// decoded is what a decoder made of entries: of all of them, or of those before one that it
// failed at.
type decoded struct {
	items  []item
	failed *failure
}

// decode returns the events of entries of a key, up to one that cannot be decoded. The error
// is that of ctx.
func (t *turn) decode(ctx context.Context, k *key, entries []Entry, now time.Time) ([]item, *failure, error) {
	if len(entries) == 0 {
		return nil, nil, nil
	}
	d := &decoding{done: make(chan decoded, 1)}
	skips := t.skips
	go d.run(t.source, k, entries, skips, now)
	deadline := time.NewTicker(t.config.Deadline)
	defer deadline.Stop()
	for was := int64(0); ; {
		select {
		case all := <-d.done:
			return all.items, all.failed, nil
		case <-ctx.Done():
			d.abandoned.Store(true)
			return nil, nil, ctx.Err()
		case <-deadline.C:
		}
		is := d.at.Load()
		if is > was {
			was = is
			continue
		}
		d.abandoned.Store(true)
		// What it made of those before went with it.
		items, f, err := t.decode(ctx, k, entries[:is], now)
		if f == nil {
			f = &failure{id: entries[is].ID, err: fmt.Errorf("the decoder has not returned for %s", t.config.Deadline)}
		}
		return items, f, err
	}
}

// run decodes. Entries that were left out come to nothing.
func (d *decoding) run(source Source, k *key, entries []Entry, skips map[string]Skip, now time.Time) {
	var all decoded
	for i, e := range entries {
		if d.at.Store(int64(i)); d.abandoned.Load() {
			break
		}
		if len(skips) > 0 {
			if _, skipped := skips[skipField(k.name, e.ID)]; skipped {
				continue
			}
		}
		items, err := source.decode(k, e, now)
		if err != nil {
			all.failed = &failure{id: e.ID, err: err}
			break
		}
		all.items = append(all.items, items...)
	}
	d.done <- all
}

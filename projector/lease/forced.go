package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Forced is a decision to remove events of a stream that may have been needed. It is
// kept for good.
type Forced struct {
	Stream string `json:"stream"`
	// Before is the first version that was to stay.
	Before uint64 `json:"before"`
	// Reason and By are why and by whom, in the words of who decided it.
	Reason string `json:"reason"`
	By     string `json:"by"`
	// Needed says who needed the events, as far as that was known.
	Needed string `json:"needed,omitempty"`
	// At is when it was decided, by the clock of the server. Force sets it.
	At time.Time `json:"-"`
}

// forcedField is the one field of an entry of the record of what was forced.
const forcedField = "f"

// Force records a decision, before it is carried out. After an error it may be recorded
// or not.
func (l *Log) Force(ctx context.Context, f Forced) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	key := keyspace.Forced(l.config.Namespace)
	if err := l.client.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []any{forcedField, text}}).Err(); err != nil {
		return fmt.Errorf("lease: recording what is forced on %s: key %s: %w", f.Stream, key, redisx.Explain(err))
	}
	return nil
}

// forcedPage is how many decisions are read at a time.
const forcedPage = 100

// Forced yields all decisions that were recorded, the oldest first. An error ends the
// sequence.
func (l *Log) Forced(ctx context.Context) iter.Seq2[Forced, error] {
	return func(yield func(Forced, error) bool) {
		key := keyspace.Forced(l.config.Namespace)
		for after := "-"; ; {
			var page []redis.XMessage
			err := redisx.Retry(ctx, func() (err error) {
				page, err = l.client.XRangeN(ctx, key, after, "+", forcedPage).Result()
				return err
			})
			if err != nil {
				yield(Forced{}, fmt.Errorf("lease: listing what was forced: key %s: %w", key, redisx.Explain(err)))
				return
			}
			for _, entry := range page {
				f, err := parseForced(entry)
				if err != nil {
					err = fmt.Errorf("lease: listing what was forced: key %s, entry %s: %w", key, entry.ID, err)
				}
				if !yield(f, err) || err != nil {
					return
				}
				after = "(" + entry.ID
			}
			if len(page) < forcedPage {
				return
			}
		}
	}
}

func parseForced(entry redis.XMessage) (f Forced, err error) {
	text, _ := entry.Values[forcedField].(string)
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, err
	}
	ms, _, _ := strings.Cut(entry.ID, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	f.At = time.UnixMilli(n).UTC()
	return f, err
}

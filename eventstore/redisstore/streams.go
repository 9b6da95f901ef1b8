package redisstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// scanCount is how many registry entries one HSCAN asks for.
const scanCount = 1000

// Head implements [eventstore.Reader].
func (s *Store) Head(ctx context.Context, stream eventstore.StreamID) (eventstore.Version, error) {
	key := s.keys.Heads(s.keys.Partition(stream.String()))
	var stored string
	err := redisx.Retry(ctx, func() (err error) {
		stored, err = s.client.HGet(ctx, key, stream.String()).Result()
		return err
	})
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	var head eventstore.Version
	if err == nil {
		head, _, err = parseHead(stored)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the head of %s: key %s: %w", stream, key, redisx.Explain(err))
	}
	return head, nil
}

// parseHead reads what the registry holds for a stream.
func parseHead(stored string) (eventstore.Version, eventstore.Ended, error) {
	ended := eventstore.Live
	digits, found := strings.CutSuffix(stored, keyspace.HeadDeleted)
	if found {
		ended = eventstore.Deleted
	} else if digits, found = strings.CutSuffix(stored, keyspace.HeadTombstoned); found {
		ended = eventstore.Tombstoned
	}
	head, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is no head: %w", stored, err)
	}
	return eventstore.Version(head), ended, nil
}

// Streams implements [eventstore.Reader]. It goes partition by partition, so
// that neighbours can be read by one pipeline on a cluster too.
func (s *Store) Streams(ctx context.Context, category string) iter.Seq2[eventstore.StreamHead, error] {
	return s.list(ctx, category, s.keys.Heads)
}

// All yields the streams of all categories with their heads, as [Store.Streams] does
// those of one. It is for people who look around: programs know their categories.
func (s *Store) All(ctx context.Context) iter.Seq2[eventstore.StreamHead, error] {
	return s.listMatching(ctx, "*", s.keys.Heads)
}

// Ends implements [eventstore.Remover].
func (s *Store) Ends(ctx context.Context, category string) iter.Seq2[eventstore.StreamHead, error] {
	return s.list(ctx, category, s.keys.Ended)
}

// list yields what hashes of all partitions hold for the streams of a category.
func (s *Store) list(ctx context.Context, category string, key func(partition int) string) iter.Seq2[eventstore.StreamHead, error] {
	return func(yield func(eventstore.StreamHead, error) bool) {
		if err := eventstore.CheckCategory(category); err != nil {
			yield(eventstore.StreamHead{}, err)
			return
		}
		for head, err := range s.listMatching(ctx, category+"-*", key) {
			if !yield(head, err) {
				return
			}
		}
	}
}

// page is what one HSCAN returns.
type page struct {
	key    string
	fields []string // names and values
	err    error
}

// listMatching is list for streams whose names match a pattern. The next page is asked for
// while one is yielded.
func (s *Store) listMatching(ctx context.Context, pattern string, key func(partition int) string) iter.Seq2[eventstore.StreamHead, error] {
	return func(yield func(eventstore.StreamHead, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		pages := make(chan page)
		go func() {
			defer close(pages)
			for p := range s.keys.Partitions() {
				if !s.scan(ctx, key(p), pattern, pages) {
					return
				}
			}
		}()
		defer func() {
			stop()
			for range pages { // until nothing is asked for any more
			}
		}()
		for p := range pages {
			if p.err != nil {
				yield(eventstore.StreamHead{}, fmt.Errorf("listing the streams %s: key %s: %w", pattern, p.key, redisx.Explain(p.err)))
				return
			}
			if !p.each(pattern, yield) {
				return
			}
		}
	}
}

// scan sends what a hash holds of the streams that match a pattern, and at last an error
// where there is one. It reports whether there was none.
func (s *Store) scan(ctx context.Context, key, pattern string, to chan<- page) bool {
	for cursor := uint64(0); ; {
		p := page{key: key}
		var next uint64
		p.err = redisx.Retry(ctx, func() (err error) {
			p.fields, next, err = s.client.HScan(ctx, key, cursor, pattern, scanCount).Result()
			return err
		})
		to <- p
		if p.err != nil || next == 0 {
			return p.err == nil
		}
		cursor = next
	}
}

// each yields the streams of a page, and reports whether to go on.
func (p page) each(pattern string, yield func(eventstore.StreamHead, error) bool) bool {
	for i := 0; i+1 < len(p.fields); i += 2 {
		stream, err := eventstore.ParseStreamID(p.fields[i])
		head, ended, err2 := parseHead(p.fields[i+1])
		if err := errors.Join(err, err2); err != nil {
			err = fmt.Errorf("listing the streams %s: key %s, field %q: %w", pattern, p.key, p.fields[i], err)
			if !yield(eventstore.StreamHead{}, err) {
				return false
			}
			continue
		}
		if !yield(eventstore.StreamHead{Stream: stream, Head: head, Ended: ended}, nil) {
			return false
		}
	}
	return true
}

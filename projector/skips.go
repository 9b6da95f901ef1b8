package projector

import (
	"context"
	"sync"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// skipList is what was skipped by hand for a projection. A nil list is empty.
//
// It is loaded when work begins, and for a batch where there are more: an event that was
// skipped since belongs to a stream that was parked, so whoever has that stream now
// claimed it after the skip, and looks after that, or is told with the claim.
type skipList struct {
	log        *lease.Log
	projection string
	every      time.Duration // it is not looked at again before, where nobody claims streams; 0 for always
	// partition tells a stream's. Only [skipList.hear] needs it.
	partition func(stream string) int

	loading sync.Mutex // one at a time, so that a late one cannot bring back an older list
	mu      sync.Mutex
	streams map[string]map[eventstore.Version]bool // guarded by mu; the inner maps do not change
	events  int                                    // guarded by mu
	looked  time.Time                              // when it was looked at last, where every is not 0; guarded by mu
	known   map[int]int                            // guarded by mu; by partition, how many are in the list
	heard   map[int]int                            // guarded by mu; and how many there are
}

// hear takes note of how many there are in some partitions, counted after streams of
// theirs were claimed, and loads the list if there are more than it has. Where it
// fails, [skipList.freshen] does that.
func (s *skipList) hear(ctx context.Context, counts map[int]int) error {
	s.mu.Lock()
	for p, n := range counts {
		if n > s.heard[p] {
			if s.heard == nil {
				s.heard = make(map[int]int)
			}
			s.heard[p] = n
		}
	}
	s.mu.Unlock()
	return s.freshen(ctx)
}

// freshen loads the list if there are more than it has, as far as was heard.
func (s *skipList) freshen(ctx context.Context) error {
	s.mu.Lock()
	stale := false
	for p, n := range s.heard {
		stale = stale || n > s.known[p]
	}
	s.mu.Unlock()
	if !stale {
		return nil
	}
	return s.load(ctx)
}

// refresh loads the list if there are more than is known of.
func (s *skipList) refresh(ctx context.Context) error {
	if s == nil {
		return nil
	}
	began := time.Now()
	s.mu.Lock()
	known, early := s.events, s.every > 0 && began.Sub(s.looked) < s.every
	s.mu.Unlock()
	if early {
		return nil
	}
	n, err := s.log.SkippedCount(ctx, s.projection)
	if err != nil {
		return err
	}
	if n != known {
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = began
	return nil
}

// load loads the list.
func (s *skipList) load(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	streams := make(map[string]map[eventstore.Version]bool)
	known := make(map[int]int)
	events := 0
	for skipped, err := range s.log.Skipped(ctx, s.projection) {
		if err != nil {
			return err
		}
		if streams[skipped.Stream] == nil {
			streams[skipped.Stream] = make(map[eventstore.Version]bool)
		}
		streams[skipped.Stream][eventstore.Version(skipped.Version)] = true
		if s.partition != nil {
			known[s.partition(skipped.Stream)]++
		}
		events++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams, s.events, s.known = streams, events, known
	return nil
}

// of returns the versions of a stream that are skipped.
func (s *skipList) of(stream eventstore.StreamID) map[eventstore.Version]bool {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) == 0 {
		return nil
	}
	return s.streams[stream.String()]
}

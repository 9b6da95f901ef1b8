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
// It is loaded when work begins, and before a batch where there are more: an event
// that was skipped since belongs to a stream that was parked, so whoever has that
// stream now claimed it after the skip, and looks after that.
type skipList struct {
	log        *lease.Log
	projection string
	every      time.Duration // it is not looked at again before, where nobody claims streams; 0 for always

	loading sync.Mutex // one at a time, so that a late one cannot bring back an older list
	mu      sync.Mutex
	streams map[string]map[eventstore.Version]bool // guarded by mu; the inner maps do not change
	events  int                                    // guarded by mu
	looked  time.Time                              // when it was looked at last, where every is not 0; guarded by mu
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
	events := 0
	for skipped, err := range s.log.Skipped(ctx, s.projection) {
		if err != nil {
			return err
		}
		if streams[skipped.Stream] == nil {
			streams[skipped.Stream] = make(map[eventstore.Version]bool)
		}
		streams[skipped.Stream][eventstore.Version(skipped.Version)] = true
		events++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams, s.events = streams, events
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

package projector

import (
	"context"
	"sync"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// skipList is what was skipped by hand for a projection. A nil list is empty.
//
// It is loaded when work begins and again when an event turns out to be poison,
// which is before an event that was skipped since could be applied: its stream was
// parked then.
type skipList struct {
	log        *lease.Log
	projection string

	mu      sync.Mutex
	streams map[string]map[eventstore.Version]bool // guarded by mu; the inner maps do not change
}

// load loads the list.
func (s *skipList) load(ctx context.Context) error {
	if s == nil {
		return nil
	}
	streams := make(map[string]map[eventstore.Version]bool)
	for skipped, err := range s.log.Skipped(ctx, s.projection) {
		if err != nil {
			return err
		}
		if streams[skipped.Stream] == nil {
			streams[skipped.Stream] = make(map[eventstore.Version]bool)
		}
		streams[skipped.Stream][eventstore.Version(skipped.Version)] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams = streams
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

package projector_test

import (
	"testing"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// The rate is that of late: neither a pause nor what was hours ago counts.
func TestPace(t *testing.T) {
	var pace projector.Pace
	at := time.Now()
	see := func(after time.Duration, state generations.State, done uint64) projector.Progress {
		at = at.Add(after)
		return pace.Of(projector.Progress{
			Record: generations.Record{State: state}, Progress: lease.Progress{Events: 100_000, EventsDone: done}, Rate: 7, Left: 7,
		}, at)
	}
	if p := see(0, generations.Building, 10_000); p.Rate != 7 || p.Left != 7 {
		t.Errorf("at first: %+v", p)
	}
	if p := see(2*time.Second, generations.Building, 12_000); p.Rate != 1000 || p.Left != 88*time.Second {
		t.Errorf("after two seconds: %+v", p)
	}
	see(time.Hour, generations.Paused, 12_000)
	if p := see(time.Minute, generations.Building, 12_000); p.Rate != 7 {
		t.Errorf("after a pause: %+v", p)
	}
	if p := see(time.Second, generations.Building, 14_000); p.Rate != 2000 || p.Left != 43*time.Second {
		t.Errorf("after the pause: %+v", p)
	}
	done := uint64(14_000)
	for range 40 {
		done += 100
		see(time.Second, generations.Building, done)
	}
	if p := see(time.Second, generations.Building, done+100); p.Rate != 100 {
		t.Errorf("of late: %+v", p)
	}
	if p := see(time.Second, generations.Building, 10); p.Rate != 7 {
		t.Errorf("of another generation: %+v", p)
	}
}

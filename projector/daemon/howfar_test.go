package daemon

import (
	"testing"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// The line of a building leaves out its bar before it is cut.
func TestBuildingLine(t *testing.T) {
	t.Parallel()
	p := projector.Progress{Record: generations.Record{State: generations.Building}, Rate: 4000, Left: 15 * time.Second,
		Progress: lease.Progress{Partitions: 2, Filled: 2, Chunks: 9, Events: 100_000, EventsDone: 42_000}}
	for width, want := range map[int]string{
		200: "carts@2 [########------------] 42%, 42,000 of 100,000 events, 4,000 events/s, about 15s left",
		79:  "carts@2: 42%, 42,000 of 100,000 events, 4,000 events/s, about 15s left",
		30:  "carts@2: 42%, 42,000 of 100,0…",
		0:   "…",
	} {
		if got := buildingLine("carts@2", p, width); got != want {
			t.Errorf("in %d characters it is %q, want %q", width, got, want)
		}
	}
}

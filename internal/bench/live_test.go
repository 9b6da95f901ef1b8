package bench

import (
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// How late an append was begun is counted in, in its own delay and in that until readers see
// the event.
func TestLatenessCounts(t *testing.T) {
	c := testCarts(t, 1, 1)
	g := &growing{head: 1, unseen: make(map[eventstore.Version]turn)}
	l := &life{carts: c, events: lineRegistry[lineAdded, lineRemoved](), all: []*growing{g}, free: make(chan *growing, 1)}
	l.free <- g
	due := time.Now().Add(-time.Hour)
	l.append(t.Context(), due, true)
	<-l.free
	if l.failed != nil {
		t.Fatal(l.failed)
	}
	if len(l.appends) != 1 || l.appends[0] < time.Hour || !l.first.Equal(due) {
		t.Errorf("the append took %v, the first was at %v; it was due at %v", l.appends, l.first, due)
	}
	change := projector.Change{
		Key:  "0",
		From: projector.Checkpoint{Position: projector.Position{Major: 1}},
		To:   projector.Checkpoint{Position: projector.Position{Major: 2}},
	}
	if took := g.show(change, time.Now(), nil, &l.shown); len(took) != 1 || took[0] < time.Hour {
		t.Errorf("it was visible after %v; it was due an hour before", took)
	}
}

package projector_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// What newer code knows: a new type, and a new schema of an old one.
type (
	doubled struct{}
	addedV2 struct {
		Quantity int64 `msgpack:"quantity"`
	}
)

// upgraded is totals as the newer code has it. The version is the same: documents
// of old events come out the same.
func upgraded() *projector.State[total] {
	events := eventstore.NewRegistry()
	eventstore.Register[added](events, "added", 1)
	eventstore.Register[addedV2](events, "added", 2)
	eventstore.Upcast(events, "added", 1, func(old added) (addedV2, error) { return addedV2{old.Qty}, nil })
	eventstore.Register[cleared](events, "cleared", 1)
	eventstore.Register[doubled](events, "doubled", 1)
	p := projector.NewState("totals", projector.StateConfig[total]{Categories: []string{"cart"}, Events: events, Document: document})
	projector.On(p, func(s *total, e addedV2) { s.add(e.Quantity) })
	projector.On(p, func(s *total, _ doubled) { s.qty *= 2 })
	return p
}

// appendNew appends events that only newer code knows.
func (f *fixture) appendNew(unknown, newer eventstore.StreamID) {
	f.Helper()
	f.append(unknown, 1, 2)
	f.appendEvents(unknown, event("doubled", doubled{}))
	f.append(unknown, 4)
	f.append(newer, 1)
	two := event("added", addedV2{2})
	two.SchemaVersion = 2
	f.appendEvents(newer, two)
	f.append(newer, 3)
}

// wantNew checks what newer code makes of those.
func (f *fixture) wantNew(unknown, newer eventstore.StreamID) {
	f.Helper()
	var state total
	state.add(1)
	state.add(2)
	state.qty *= 2
	state.add(4)
	f.wantState(unknown.ID(), state, 4)
	f.want(newer, 1, 2, 3)
}

// Scenario 24: what newer code may know parks at once, and says so; the same code
// does not try again when it is restarted.
func TestScenario24_UnknownTypesAndNewerSchemas(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		short := func(c *projector.WorkerConfig) { c.TTL = 100 * time.Millisecond }
		h := make(history)
		h.fill(f, 10)
		f.appendNew(cart(1000), cart(1001))
		stop := f.start("old", short)
		h.wait(f)
		f.parked(2)
		f.wantParked(cart(1000), 3, 1, `unknown event type "doubled"`)
		f.wantParked(cart(1001), 2, 1, "upgrade this worker")
		f.want(cart(1000), 1, 2)
		f.want(cart(1001), 1)
		f.settled()
		stop()

		// The parking is that of the first attempt, also after all that is due
		// again and again was done.
		before := f.parked(2)
		tells := new(watcher)
		f.start("restarted", short, observed(tells))
		testenv.Wait(f, waitLong, func() error {
			h.fill(f, 10)
			h.wait(f)
			if n := len(seen[projector.Settled](tells)); n < 10 {
				return fmt.Errorf("the worker settled %d times", n)
			}
			return nil
		})
		for stream, was := range f.parked(2) {
			if was.Outdated == "" || !was.Since.Equal(before[stream].Since) {
				f.Errorf("%s is parked for %+v; before it was %+v", stream, was, before[stream])
			}
		}
		if parked := seen[projector.ParkedStream](tells); len(parked) > 0 {
			f.Errorf("the same code tried again: %v", parked)
		}
		for p, err := range projector.ParkedStreams(f.Context(), f.log(), projector.Assignment{Projection: f.p}) {
			if err != nil || !p.Outdated {
				f.Errorf("%s is parked, %+v, %v", p.Stream, p, err)
			}
		}
	})
}

// Scenario 16: old and new workers side by side lose nothing and park nothing that
// both know; what only the newer ones know they take up by themselves, at the latest
// when the older ones are gone.
func TestScenario16_OldAndNewSideBySide(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		short := func(c *projector.WorkerConfig) { c.TTL = 100 * time.Millisecond }
		h := make(history)
		h.fill(f, 10)
		const streams = 10
		for i := range streams {
			f.appendNew(cart(1000+i), cart(2000+i))
		}
		old := f.start("old", short)
		f.parked(2 * streams)
		f.p = upgraded()
		f.start("new", short)
		f.began("new")
		h.fill(f, 30)
		h.wait(f)
		start := time.Now()
		f.parked(0)
		f.settled()
		f.Logf("taken up within %v", time.Since(start))
		for i := range streams {
			f.wantNew(cart(1000+i), cart(2000+i))
		}
		old()
		h.fill(f, 30)
		h.wait(f)
	})
}

// Types that a projection does not want pass, known or not.
func TestTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	p := projector.NewState("totals", projector.StateConfig[total]{
		Categories: []string{"cart"}, Types: []string{"added"}, Events: registry(), Document: document,
	})
	projector.On(p, func(s *total, e added) { s.add(e.Qty) })
	projector.On(p, func(s *total, _ cleared) { *s = total{} })
	f.p = p
	f.append(cart(1), 1)
	f.appendEvents(cart(1), event("cleared", cleared{}), event("nobody_knows", added{2}))
	f.append(cart(1), 4)
	f.start("w")
	if err := projector.WaitFor(t.Context(), projector.Assignment{Projection: f.p, Sink: f.sink}, cart(1), 4); err != nil {
		t.Fatal(err)
	}
	var state total
	state.add(1)
	state.add(4)
	f.wantState("1", state, 4)
	f.parked(0)

	wrong := projector.NewState("totals", projector.StateConfig[total]{
		Categories: []string{"cart"}, Types: []string{"aded"}, Events: registry(), Document: document,
	})
	if _, err := projector.CatchUp(t.Context(), f.store, wrong, f.sink, projector.CatchUpConfig{}); err == nil {
		t.Error("a type that nobody registered was accepted")
	}
}

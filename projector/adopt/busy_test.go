package adopt

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// reading is a store that counts the events that are read.
type reading struct {
	eventstore.Store
	events *atomic.Int64
}

func (r reading) Read(ctx context.Context, stream eventstore.StreamID, in eventstore.Range) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		for e, err := range r.Store.Read(ctx, stream, in) {
			r.events.Add(1)
			if !yield(e, err) {
				return
			}
		}
	}
}

// own appends events to a lead as a program does that knows nothing of the adopter.
func (f *fixture) own(lead string, events int) {
	f.Helper()
	f.ownWith(lead, events, nil)
}

func (f *fixture) ownWith(lead string, events int, extra map[string]string) {
	f.Helper()
	all := make([]eventstore.Event, events)
	for i := range all {
		all[i] = eventstore.Event{Type: "own", SchemaVersion: 1, Data: []byte("\x81\xa1n\xa1o"), Metadata: eventstore.Metadata{Extra: extra}}
	}
	if _, err := f.store.Append(f.Context(), eventstore.MustStreamID("lead", lead), eventstore.Any, all...); err != nil {
		f.Error(err)
	}
}

// hits reports whether one of the appends is to a lead.
func hits(appends []eventstore.StreamAppend, lead string) bool {
	for _, a := range appends {
		if a.Stream.ID() == lead {
			return true
		}
	}
	return false
}

// TestBusyTarget has another program append to a lead right before each append of the
// adopter, so that it cannot get through: all others go on, and so does it when there is
// a gap. What was read of a long stream is not read again for that.
func TestBusyTarget(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	one, two := f.key("one"), f.key("two")
	const long = 5000
	f.own("1", long)
	var busy atomic.Bool
	var tries, read atomic.Int64
	store := between{reading{f.store, &read}, func(appends []eventstore.StreamAppend) {
		if busy.Load() && hits(appends, "1") {
			tries.Add(1)
			f.own("1", 1)
		}
	}}
	f.adopting(f.adopter(f.source(one, two), store))
	f.wait(f.at(one, f.add(one, "type", "called", "lead", "1", "n", "1"), 0))
	if n := read.Load(); n < long {
		t.Errorf("%d events were read, of a stream of %d that nothing was adopted into", n, long)
	}
	busy.Store(true)
	read.Store(0)
	before := f.add(one, "type", "called", "lead", "3", "n", "3")
	f.wait(f.at(one, before, 0))
	f.add(one, "type", "called", "lead", "1", "n", "2")
	last := f.add(one, "type", "called", "lead", "2", "n", "2") // behind it
	f.wait(func() error {
		if n := tries.Load(); n < 2*mostConflicts {
			return fmt.Errorf("it was tried %d times", n)
		}
		return nil
	})
	f.wait(f.at(two, f.add(two, "type", "called", "lead", "2", "n", "4"), 0))
	f.wait(f.at(one, before, 0))
	busy.Store(false)
	f.wait(f.at(one, last, 0))
	f.wait(f.has("3", "3"))
	f.wait(f.has("2", "2", "4"))
	all := f.stream("1", "n")
	if got := strings.ReplaceAll(strings.Join(all, ""), "o", ""); got != "12" {
		t.Errorf("the busy stream has %s", got)
	}
	if n := read.Load(); n > 4*tries.Load()+100 {
		t.Errorf("%d events were read for %d tries", n, tries.Load())
	}
}

// between is a store that something is done before the appends of.
type between struct {
	eventstore.Store
	before func([]eventstore.StreamAppend)
}

func (b between) AppendMany(ctx context.Context, appends []eventstore.StreamAppend) []eventstore.Outcome {
	b.before(appends)
	return b.Store.AppendMany(ctx, appends)
}

// failing is a store of which one lead has trouble that may pass.
type failing struct {
	eventstore.Store
	lead string
	on   *atomic.Bool
}

func (s failing) AppendMany(ctx context.Context, appends []eventstore.StreamAppend) []eventstore.Outcome {
	outcomes := make([]eventstore.Outcome, len(appends))
	for i, a := range appends {
		if s.on.Load() && a.Stream.ID() == s.lead {
			outcomes[i].Err = errors.New("not today")
			continue
		}
		outcomes[i] = s.Store.AppendMany(ctx, appends[i:i+1])[0]
	}
	return outcomes
}

// TestBadTarget checks that a stream which takes nothing holds up its key alone: parked,
// where that lasts, and tried again, where it may pass.
func TestBadTarget(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	text, gone, later, well := f.key("text"), f.key("gone"), f.key("later"), f.key("well")
	f.own("text", 1)
	f.own("gone", 3)
	for _, lead := range []string{"text", "gone"} {
		keys, err := f.client.Keys(t.Context(), "{"+f.namespace+":*}:s:lead-"+lead).Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("the stream is %v (%v)", keys, err)
		}
		if err := f.client.Del(t.Context(), keys...).Err(); err != nil {
			t.Fatal(err)
		}
		if lead == "text" {
			if err := f.client.Set(t.Context(), keys[0], "text", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	bad := make(map[string]ID)
	for lead, name := range map[string]string{"text": text, "gone": gone, "later": later} {
		f.add(name, "type", "called", "lead", "before", "n", "1")
		bad[name] = f.add(name, "type", "called", "lead", lead, "n", "2")
	}
	var trouble atomic.Bool
	trouble.Store(true)
	f.adopting(f.adopter(f.source(text, gone, later, well), failing{f.store, "later", &trouble}))
	f.wait(f.parked(text, bad[text], "WRONGTYPE"))
	f.wait(f.parked(gone, bad[gone], "its head is 3, but its last event is 0"))
	f.wait(func() error {
		if log := f.log.String(); !strings.Contains(log, "not today") || !strings.Contains(log, later) {
			return fmt.Errorf("it is not told: %s", log)
		}
		return nil
	})
	f.wait(f.at(well, f.add(well, "type", "called", "lead", "well", "n", "1"), 0))
	if k, err := f.known(later); err != nil || k.Parked != nil || k.Position.ID.Compare(bad[later]) >= 0 {
		t.Errorf("it stands at %+v (%v)", k, err)
	}
	trouble.Store(false)
	f.wait(f.at(later, bad[later], 0))
	f.wait(f.has("later", "2"))
}

// TestForged checks that events which only say that they were adopted keep nothing from being
// adopted.
func TestForged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	name := f.key("one")
	forge := func(entry string) {
		f.ownWith("1", 1, map[string]string{SourceKey: "crm", KeyKey: name, EntryKey: entry})
	}
	forge("9999999999999-0")
	f.adopting(f.adopter(f.source(name), f.store))
	for n, entry := range []string{"9999999999999-0", "zzz", ""} {
		f.wait(f.at(name, f.add(name, "type", "called", "lead", "1", "n", fmt.Sprint(n)), 0))
		forge(entry)
	}
	last := f.add(name, "type", "called", "lead", "1", "n", "3")
	f.wait(f.at(name, last, 0))
	f.wait(f.has("1", "o", "0", "o", "1", "o", "2", "o", "3"))
}

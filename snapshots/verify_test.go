package snapshots_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

func TestVerify(t *testing.T) {
	m := newMemory()
	s, _ := states(t, m, Cart{})
	other, _ := states(t, m, Cart{}, func(c *snapshots.Config) { c.Schema = 2 })
	const n = 200 // more than are in hand at a time
	id := func(i int) uuid.UUID { return uuid.UUID{15: byte(i), 14: byte(i >> 8), 0: 1} }
	stream := func(i int) eventstore.StreamID { return eventstore.MustStreamID("cart", fmt.Sprint(i)) }
	state := func(i int) Cart { return Cart{Items: map[string]int64{"tea": int64(i), "mug": 1}} }
	for i := range n {
		e := snapshots.Entry[Cart]{Stream: stream(i), Version: eventstore.Version(i + 1), EventID: id(i), State: state(i)}
		switch i {
		case 10:
			e.State.Items["tea"]++
		case 20:
			e.EventID = uuid.New()
		case 30:
			e.Version++
		case 40:
			other.Save(t.Context(), e)
			continue
		}
		s.Save(t.Context(), e)
	}
	key := func(i int) snapshots.Key { return snapshots.Key{Definition: "aggregate.cart", Stream: stream(i)} }
	m.SetRaw(t.Context(), key(50), []byte("nonsense"))
	refold := func(_ context.Context, k eventstore.StreamID, upTo eventstore.Version) (e snapshots.Entry[Cart], err error) {
		var i int
		fmt.Sscan(k.ID(), &i)
		if i == 60 {
			return e, &eventstore.EventError{Stream: k, Version: 1, Err: eventstore.ErrPayload}
		}
		e = snapshots.Entry[Cart]{Stream: k, Version: min(upTo, eventstore.Version(i+1)), EventID: id(i), State: state(i)}
		return e, nil
	}
	want := map[int]snapshots.Outcome{10: snapshots.Wrong, 20: snapshots.Forked, 30: snapshots.Ahead, 40: snapshots.OtherSchema, 50: snapshots.Corrupt, 60: snapshots.Misfit}
	const says = `field Items["tea"]: it is "11", not "10"`
	seen := 0
	for v, err := range s.Verify(t.Context(), refold) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if wrong := v.Outcome == snapshots.Wrong; wrong != strings.HasPrefix(v.Stored, `{"Items":{"mug":1,"tea":11}`) || wrong != strings.HasPrefix(v.Folded, `{"Items":{"mug":1,"tea":10}`) {
			t.Errorf("%s: stored is %s, folded %s", v.Key, v.Stored, v.Folded)
		}
		var i int
		fmt.Sscan(v.Stream.ID(), &i)
		if v.Outcome != want[i] || (v.Err == nil) != (want[i] == snapshots.Used) || i == 10 && v.Err.Error() != says {
			t.Errorf("%s: %s, %v; want %s", v.Key, v.Outcome, v.Err, want[i])
		}
	}
	if seen != n {
		t.Errorf("%d of %d were verified", seen, n)
	}

	failing := func(context.Context, eventstore.StreamID, eventstore.Version) (snapshots.Entry[Cart], error) {
		return snapshots.Entry[Cart]{}, errDown
	}
	var last error
	for _, last = range s.Verify(t.Context(), failing) {
	}
	if !errors.Is(last, errDown) {
		t.Errorf("without events: %v", last)
	}
	m.before = func(context.Context) error { return errDown }
	for _, last = range s.Verify(t.Context(), refold) {
	}
	if !errors.Is(last, errDown) {
		t.Errorf("without a store: %v", last)
	}
}

package lease

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// Who looks sees the sessions that live, with what they have, and none that is dead.
func TestLive(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 2)
		g := newGroup(t, l)
		live := func() []LiveSession {
			t.Helper()
			all, err := l.Live(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		if all := live(); len(all) != 0 {
			t.Errorf("before there is any: %+v", all)
		}
		announce(t, l, "cart-1", "cart-2", "cart-3")
		blue := join(t, g, "blue.eu-1", time.Hour)
		green := join(t, g, "green", time.Minute)
		if _, err := blue.Read(t.Context(), []int{0, 1}, 10, 0); err != nil {
			t.Fatal(err)
		}
		all := live()
		if len(all) != 2 {
			t.Fatalf("%d sessions: %+v", len(all), all)
		}
		b := all[0]
		if b.Name != blue.session.Name() || b.Worker != "blue.eu-1" || !slices.Equal(b.Partitions, []int{0, 1}) ||
			!slices.Equal(b.Groups, []string{g.name}) || b.Pending != 3 || b.Left > time.Hour || b.Left < 30*time.Minute {
			t.Errorf("who was given all: %+v", b)
		}
		if w := all[1]; w.Worker != "green" || w.Groups != nil || w.Pending != 0 || w.Left > time.Minute {
			t.Errorf("who has not read yet: %+v", w)
		}
		if err := green.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if all := live(); len(all) != 1 || all[0].Worker != "blue.eu-1" {
			t.Errorf("after one has stopped: %+v", all)
		}
		// A deadline that has passed.
		for p := range 2 {
			if err := client.HSet(t.Context(), l.keys.Sessions(p), blue.session.Name(), 1).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if all := live(); len(all) != 0 {
			t.Errorf("after the other has died: %+v", all)
		}
	})
}

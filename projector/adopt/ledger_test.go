package adopt

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// TestPositionsNeverGoBack checks that a position is moved only from where it was known to be,
// and that who is late takes over what is there.
func TestPositionsNeverGoBack(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		name := f.key("one")
		l := f.ledger()
		at := func(ms uint64, added, lost int64) Position { return Position{ID: ID{ms, 0}, Added: added, Lost: lost} }
		for i, step := range []struct {
			from, to, stands string
			want             Position
		}{
			{"", at(5, 5, 1).text(), "", at(5, 5, 1)},
			{"", at(5, 5, 1).text(), "", at(5, 5, 1)}, // its reply was lost
			{"", at(3, 3, 0).text(), at(5, 5, 1).text(), at(5, 5, 1)},
			{at(4, 4, 0).text(), at(9, 9, 0).text(), at(5, 5, 1).text(), at(5, 5, 1)},
			{at(5, 5, 1).text(), at(6, 6, 1).text(), "", at(6, 6, 1)},
		} {
			stands, err := l.move(t.Context(), "crm", []move{{name, step.from, step.to}})
			if err != nil || stands[0] != step.stands {
				t.Errorf("step %d: it stands at %q (%v), want %q", i, stands, err, step.stands)
			}
			if got, err := l.position(t.Context(), "crm", name); err != nil || got != step.want {
				t.Errorf("step %d: it is %+v (%v), want %+v", i, got, err, step.want)
			}
		}

		turn, err := f.adopter(f.source(name), f.store).newTurn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := turn.keys[name]
		for i, step := range []struct{ stored, mine, want Position }{
			{at(2, 2, 0), at(4, 4, 0), at(6, 6, 1)}, // late: the other one is further
			{at(2, 2, 0), at(8, 8, 0), at(8, 8, 1)}, // further than the other one
		} {
			k.stored, k.pos = step.stored.text(), step.mine
			if err := turn.move(t.Context(), []*key{k}); err != nil || k.pos != step.want {
				t.Errorf("move %d: the key stands at %+v (%v), want %+v", i, k.pos, err, step.want)
			}
			if got, err := l.position(t.Context(), "crm", name); err != nil || got != step.want || k.stored != got.text() {
				t.Errorf("move %d: the position is %+v (%v), want %+v", i, got, err, step.want)
			}
		}
		if err := client.Del(t.Context(), "{"+f.namespace+"}:adopted:crm").Err(); err != nil {
			t.Fatal(err)
		}
		k.pos = at(9, 9, 1)
		if err := turn.move(t.Context(), []*key{k}); !errors.Is(err, errWentBack) {
			t.Errorf("after the loss of the position: %v", err)
		}
		if _, err := l.move(t.Context(), "crm", []move{{name, "", at(2, 2, 0).text()}}); err != nil {
			t.Fatal(err)
		}
		if err := turn.move(t.Context(), []*key{k}); !errors.Is(err, errWentBack) {
			t.Errorf("where the position is behind: %v", err)
		}
		if got, err := l.position(t.Context(), "crm", name); err != nil || got != at(2, 2, 0) {
			t.Errorf("a position that went back is written over: %+v (%v)", got, err)
		}
	})
}

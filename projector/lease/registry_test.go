package lease

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// enter puts streams into the registry, each with the same info.
func enter(tb testing.TB, l *Log, info string, streams ...string) {
	tb.Helper()
	entries := make([]Entry, len(streams))
	for i, s := range streams {
		entries[i] = Entry{Stream: s, Info: []byte(info)}
	}
	if err := l.Enter(tb.Context(), entries); err != nil {
		tb.Fatal(err)
	}
}

func mustEntries(tb testing.TB, m *Member, streams ...string) []Entry {
	tb.Helper()
	entries, err := m.Entries(tb.Context(), streams)
	if err != nil {
		tb.Fatal(err)
	}
	return entries
}

func mustFinish(tb testing.TB, m *Member, s Settlement) Settled {
	tb.Helper()
	settled, err := m.Finish(tb.Context(), []Settlement{s})
	if err != nil {
		tb.Fatal(err)
	}
	return settled[0]
}

// left returns how many keys a namespace has that hold anything of streams.
func left(tb testing.TB, l *Log) (n int64) {
	tb.Helper()
	for p := range l.Partitions() {
		n += l.client.HLen(tb.Context(), l.keys.Heads(p)).Val() + l.client.HLen(tb.Context(), l.keys.Info(p)).Val() + l.client.XLen(tb.Context(), l.keys.Log(p)).Val()
	}
	return n
}

// A stream that is entered twice has one pointer, and is not finished by who knows of the
// first time only; finished, it leaves nothing.
func TestRegistry(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 3)
		g := newGroup(t, l)
		enter(t, l, "first", carts(100)...)
		m := join(t, g, "worker", time.Hour)
		pointers := readAll(t, m)
		if claimed := mustClaim(t, m, pointers...); count(claimed, Leased) != 100 {
			t.Fatal("claimed", claimed)
		}
		before := mustEntries(t, m, carts(100)...)
		enter(t, l, "second", "cart-7")
		if more := readAll(t, m); len(more) != 0 {
			t.Error("a stream that was entered again has another pointer", more)
		}
		listed := 0
		for p := range l.Partitions() {
			for r, err := range g.Registry(t.Context(), p) {
				if err != nil || r.Session != m.session.Name() || len(r.Info) == 0 || r.Head == 0 {
					t.Fatal("the registry says", r, err)
				}
				listed++
			}
		}
		if listed != 100 {
			t.Error("the registry has", listed, "streams")
		}
		for i, e := range before {
			if string(e.Info) != "first" || e.Head == 0 || e.Token <= e.Head {
				t.Fatal("the entry is", e)
			}
			at := slices.IndexFunc(pointers, func(p Pointer) bool { return p.Stream == e.Stream })
			settlement := Settlement{Stream: e.Stream, Version: e.Head, Pointers: []string{pointers[at].ID}}
			if s := mustFinish(t, m, settlement); e.Stream != "cart-7" {
				if s.Result != Done {
					t.Fatal(i, s)
				}
				continue
			} else if s.Result != Behind {
				t.Fatal("a stream that was entered again was finished:", s)
			}
			again := mustEntries(t, m, e.Stream)[0]
			if string(again.Info) != "second" || again.Head <= e.Head || again.Token <= e.Token {
				t.Error("entered again it is", again, "after", e)
			}
			settlement.Version = again.Head
			if s := mustFinish(t, m, settlement); s.Result != Done {
				t.Fatal(s)
			}
		}
		if n := left(t, l); n != 0 {
			t.Error("of finished streams", n, "things are left")
		}
		if e := mustEntries(t, m, "cart-7")[0]; e.Head != 0 || e.Token != 0 {
			t.Error("of a finished stream there is", e)
		}
	})
}

// A token is given to who has the lease alone, and the next owner's is higher.
func TestEntriesToken(t *testing.T) {
	g := newGroup(t, newLog(t, testenv.Redis(t), 1))
	enter(t, g.log, "", "cart-1")
	first, second := join(t, g, "one", time.Hour), join(t, g, "two", time.Hour)
	pointers := readAll(t, first)
	mustClaim(t, first, pointers...)
	old := mustEntries(t, first, "cart-1")[0].Token
	if err := first.HandBack(t.Context(), ByStream(pointers)); err != nil {
		t.Fatal(err)
	}
	if token := mustEntries(t, first, "cart-1")[0].Token; token != 0 {
		t.Error("who has handed it back was given the token", token)
	}
	swept, err := second.Sweep(t.Context(), 0, 10)
	if err != nil || len(swept.Pointers) != 1 || !slices.Contains(swept.Members, first.session.Name()) {
		t.Fatal("after a hand-back the sweep found", swept, err)
	}
	mustClaim(t, second, swept.Pointers...)
	if token := mustEntries(t, second, "cart-1")[0].Token; token <= old {
		t.Error("the next owner's token is", token, "after", old)
	}
	if s := mustFinish(t, first, Settlement{Stream: "cart-1", Version: 1, Pointers: []string{pointers[0].ID}}); s.Result != NotMine {
		t.Error("who has handed it back finished it:", s)
	}
}

package adopt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// TestFirstRead checks that a backlog of large entries is read in pieces from the first on,
// and one of small ones in larger and larger ones.
func TestFirstRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	large, small := f.key("large"), f.key("small")
	for range 40 {
		f.add(large, "x", strings.Repeat("x", 500_000))
	}
	for n := range 200 {
		f.add(small, "x", fmt.Sprint(n))
	}
	turn, err := f.adopter(f.source(large, small), f.store).newTurn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		want []int // of each read, how many entries
	}{{large, []int{16, 8, 8}}, {small, []int{16, 184}}} {
		k := turn.keys[test.name]
		for i, want := range test.want {
			all, err := turn.read(t.Context(), []*key{k})
			if err != nil {
				t.Fatal(err)
			}
			entries := all[0].entries
			if len(entries) != want {
				t.Fatalf("%s: read %d has %d entries, want %d", test.name, i, len(entries), want)
			}
			k.pos.ID = entries[len(entries)-1].ID
		}
	}
}
